import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { basePublish, processKill, processSpawn } from '@wrenn/addon';
import { createLogger } from '@wrenn/core';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AgentFiles, MEMORY, WORKING_SET } from '../files.ts';
import { serveMemory } from '../vmm/memory-server.ts';
import type { VmmProcess } from '../vmm/vmm.ts';
import { watchProcess } from '../vmm/vmm-process.ts';
import { FirstTouches } from './first-touches.ts';

const MEMORY_BYTES = 1 << 20;
const signal = AbortSignal.timeout(60_000);
const boot = { kind: 'snapshot', snapshot_id: 'boot.1' } as const;

let files: AgentFiles;
let touches: FirstTouches;
/** Which origins were held while something was written. */
let held: string[];
/** Lines of the log. */
let said: { vm: string; err: { message: string } }[];
/** Why a snapshot cannot be held; null: it can. */
let broken: Error | null = null;
const processes: VmmProcess[] = [];

beforeEach(async () => {
  files = new AgentFiles(await mkdtemp(join(tmpdir(), 'wrenn-first-')));
  await files.prepare();
  await mkdir(files.snapshot('boot.1').folder);
  await writeFile(files.snapshot('boot.1').manifest, '{}');
  held = [];
  said = [];
  const log = createLogger({ name: 'test' }, { write: (line) => void said.push(JSON.parse(line)) });
  touches = new FirstTouches(files, log, async (origin, work) => {
    if (broken !== null) throw broken;
    held.push(JSON.stringify(origin));
    await work();
  });
});

afterEach(async () => {
  for (const process of processes.splice(0)) await end(process);
  await rm(files.root, { recursive: true });
});

/** A VM as far as it is needed here: a process, and a real memory server that waits for it. */
async function vm(vmId: string, served: boolean): Promise<void> {
  const sandbox = files.sandbox(vmId);
  await mkdir(sandbox.run, { recursive: true });
  const process = await processSpawn({ argv: ['/bin/sleep', '600'] });
  processes.push(process);
  if (!served) return;
  await writeFile(sandbox.memory, Buffer.alloc(MEMORY_BYTES, 7));
  await basePublish({ file: sandbox.memory, memoryBytes: MEMORY_BYTES, dir: sandbox.folder, name: MEMORY });
  await serveMemory({ process, files: sandbox }, join(sandbox.run, 'uffd.sock'), [sandbox.memory], signal);
}

async function end(process: VmmProcess): Promise<void> {
  const ended = new Promise((resolve) => watchProcess(process, resolve));
  await processKill(process.pid, process.startTime, constants.signals.SIGKILL);
  await ended;
}

const written = (): Promise<Buffer | null> => readFile(files.snapshot('boot.1').at(WORKING_SET)).catch(() => null);

test('SN6: the first VM of a snapshot writes what it touched first, once, while the snapshot is held', async () => {
  for (const vmId of ['a.1', 'b.1']) await vm(vmId, true);
  touches.begin('a.1', boot);
  touches.begin('b.1', boot);
  expect(await written()).toBeNull();
  await touches.end('a.1');
  const set = await written();
  expect(set?.subarray(0, 8).toString()).toBe('WRENNSET');
  expect(held).toEqual([JSON.stringify(boot)]);
  // It has one now: neither the same VM nor another writes.
  await touches.end('a.1');
  await touches.end('b.1');
  expect(held).toHaveLength(1);
});

test('SN6: nothing is written by a VM whose memory nobody serves, that was paused, or whose snapshot is gone', async () => {
  await vm('mapped.1', false);
  touches.begin('mapped.1', boot);
  await touches.end('mapped.1');
  await vm('resumed.2', true);
  touches.begin('resumed.2', { kind: 'paused', vm_id: 'resumed.1' });
  await touches.end('resumed.2');
  await touches.end('unknown.1');
  expect(held).toEqual([]);

  // Deleted while somebody else held it: the manifest goes first.
  await vm('late.1', true);
  touches.begin('late.1', boot);
  await rm(files.snapshot('boot.1').manifest);
  await touches.end('late.1');
  expect(held).toHaveLength(1);
  expect(await written()).toBeNull();

  // One that has died tells nothing, and that is no error.
  await writeFile(files.snapshot('boot.1').manifest, '{}');
  await vm('dead.1', true);
  touches.begin('dead.1', boot);
  const server: VmmProcess = JSON.parse(await readFile(files.sandbox('dead.1').at('faults.json'), 'utf8'));
  const served = new Promise((resolve) => watchProcess(server, resolve));
  for (const process of processes.splice(0)) await end(process);
  await served; // it ends with its VM
  await touches.end('dead.1');
  expect(await written()).toBeNull();
});

test('SN6: a hint that cannot be written fails nothing; the log says why', async () => {
  await vm('unlucky.1', true);
  touches.begin('unlucky.1', boot);
  broken = new Error('no room');
  await touches.end('unlucky.1');
  broken = null;
  expect(await written()).toBeNull();
  expect(said).toMatchObject([{ vm: 'unlucky.1', err: { message: 'no room' } }]);
});
