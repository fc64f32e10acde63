import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { rmSync, truncateSync, writeFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';

/**
 * One inode per 32 KiB and a 32 MiB journal keep a fresh 20 GB image small. `discard` with a whole inode table
 * (lazy_itable_init=0) leaves the table a hole *and* marked as zeroed: else the guest's kernel would write zeros
 * for minutes into every sandbox's overlay.
 */
export const MKFS_OPTIONS = [
  '-q',
  '-F',
  '-L',
  'wrenn',
  '-b',
  '4096',
  '-i',
  '32768',
  '-m',
  '0',
  '-e',
  'remount-ro',
  '-J',
  'size=32',
];
const EXTENDED = 'lazy_itable_init=0,lazy_journal_init=0,discard';

/** Makes a sparse ext4 image at `path` with the content of `root`. */
export async function makeExt4(root: string, path: string, sizeBytes: number): Promise<void> {
  rmSync(path, { force: true });
  writeFileSync(path, '', { mode: 0o644 });
  truncateSync(path, sizeBytes);
  await promisify(execFile)('mkfs.ext4', [...MKFS_OPTIONS, '-E', EXTENDED, '-d', root, path]);
}

/** sha256 of a sparse file's data and the map of its holes, as tar sees them: reading 20 GB of zeros would take long. */
export async function sparseDigest(path: string): Promise<string> {
  const fixed = [
    '--sparse',
    '--format=posix',
    '--mtime=@0',
    '--owner=0',
    '--group=0',
    '--mode=0644',
    '--transform=s/.*/image/',
  ];
  fixed.push('--pax-option=delete=atime,delete=ctime,delete=mtime,exthdr.name=image,globexthdr.name=image');
  const tar = spawn('tar', ['-c', ...fixed, '-C', dirname(path), basename(path)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const closed = once(tar, 'close');
  const hash = createHash('sha256');
  await pipeline(tar.stdout, hash);
  const [code] = (await closed) as [number | null];
  if (code !== 0) throw new Error(`tar ended with code ${code}`);
  return hash.digest('hex');
}
