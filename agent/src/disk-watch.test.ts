import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createLogger } from '@wrenn/core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DiskWatch } from './disk-watch.ts';

const run = promisify(execFile);
const MIB = 1 << 20;
let disk: string;

beforeAll(async () => {
  disk = await mkdtemp(join(tmpdir(), 'wrenn-disk-'));
  await run('mount', ['-t', 'tmpfs', '-o', 'size=20m', 'tmpfs', disk]);
});
afterAll(async () => {
  await run('umount', [disk]);
  await rm(disk, { recursive: true });
});

const room = async () => {};

test('FS4: a disk that fills is told of once, and once when there is room again', async () => {
  const lines: string[] = [];
  const watch = new DiskWatch(disk, createLogger({ name: 'test' }, { write: (line) => void lines.push(line) }), room);
  const said = () => lines.splice(0).map((line) => JSON.parse(line));
  await watch.look();
  expect(said()).toEqual([]);
  await writeFile(join(disk, 'filler'), Buffer.alloc(19 * MIB));
  await watch.look();
  await watch.look();
  expect(said()).toEqual([expect.objectContaining({ path: disk, free_mb: 1, size_mb: 20 })]);
  await rm(join(disk, 'filler'));
  await watch.look();
  await watch.look();
  expect(said()).toEqual([expect.objectContaining({ free_mb: 20, msg: 'the disk has room again' })]);
});
