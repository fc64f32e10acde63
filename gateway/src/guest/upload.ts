import type { ByteStream } from '../http/byte-stream.ts';
import { mediaType } from '../http/json-body.ts';
import { multipart, type Part } from '../http/multipart.ts';
import { badRequest } from '../http/problems.ts';
import { validate } from '../http/validate.ts';
import { filePath } from './file-schemas.ts';
import { type FileTarget, type WrittenFile, writeFile } from './file-transfer.ts';
import type { Guest } from './guest.ts';
import { user as userName } from './process-schemas.ts';

/** A form's text fields are names; files are parts of their own. */
const MAX_FIELD_BYTES = 8_192;

export interface Upload {
  readonly path: string | undefined;
  readonly user: string | undefined;
  readonly contentType: string;
  readonly contentLength: number | null;
  readonly stream: ByteStream;
}

/**
 * Writes what a client sends: one file as it is (`path` in the query), or a form. In a form `path` and `user` may also be
 * fields before the file; without any path a file is named by its part's file name. Nothing is held in memory.
 */
export async function upload(guest: Guest, request: Upload, signal: AbortSignal): Promise<WrittenFile[]> {
  const { path, user, contentType, contentLength, stream } = request;
  if (mediaType(contentType) !== 'multipart/form-data') {
    if (path === undefined) throw badRequest('path: must be in the query for a body that is the file itself');
    return [await writeFile(guest, { path, user: user ?? null }, stream, contentLength, signal)];
  }
  const written: WrittenFile[] = [];
  const named = { path, user };
  for await (const part of multipart(stream, contentType)) {
    if (part.name === 'path' && part.filename === undefined) {
      named.path = validate(filePath, await fieldText(part), 'body');
    } else if (part.name === 'user' && part.filename === undefined) {
      named.user = validate(userName, await fieldText(part), 'body');
    } else if (part.name === 'file') {
      written.push(await writeFile(guest, target(part, named), part.body, null, signal));
    } else {
      throw badRequest(`${JSON.stringify(part.name)}: unknown field; a form has path, user and file`);
    }
  }
  if (written.length === 0) throw badRequest('file: missing');
  return written;
}

function target(part: Part, named: { path: string | undefined; user: string | undefined }): FileTarget {
  const path = named.path ?? part.filename;
  if (path === undefined || path === '') throw badRequest('path: missing; name it before the file');
  return { path: validate(filePath, path, 'body'), user: named.user ?? null };
}

async function fieldText(part: Part): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of part.body) {
    size += chunk.length;
    if (size > MAX_FIELD_BYTES) throw badRequest(`${part.name}: too long`);
    chunks.push(chunk);
  }
  return new TextDecoder('utf-8').decode(Buffer.concat(chunks));
}
