import { timestampDate } from '@bufbuild/protobuf/wkt';
import { type EntryInfo, FileType } from '@wrenn/proto/filesystem/filesystem_pb';
import type { z } from 'zod';
import type { entryObject } from './file-schemas.ts';

const TYPE: Readonly<Record<FileType, 'file' | 'directory' | 'symlink' | 'other'>> = {
  [FileType.UNSPECIFIED]: 'other',
  [FileType.FILE]: 'file',
  [FileType.DIRECTORY]: 'directory',
  [FileType.SYMLINK]: 'symlink',
};

/** An entry of envd as the REST API shows it. */
export function fileEntry(entry: EntryInfo): z.output<typeof entryObject> {
  return {
    name: entry.name,
    type: TYPE[entry.type],
    path: entry.path,
    size: Number(entry.size),
    mode: entry.mode,
    permissions: entry.permissions,
    owner: entry.owner,
    group: entry.group,
    modified_time: entry.modifiedTime ? timestampDate(entry.modifiedTime).toISOString() : null,
    ...(entry.symlinkTarget !== undefined && { symlink_target: entry.symlinkTarget }),
  };
}
