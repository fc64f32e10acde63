import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { readPidFile, startDaemon } from './daemon.ts';
import { endProcess, isAlive, startTimeOf } from './process-record.ts';

const dir = mkdtempSync(join(tmpdir(), 'wrenn-daemon-'));
afterAll(() => rmSync(dir, { recursive: true }));

const sleeper = (name: string) => ({
  name,
  argv: ['sleep', '60'] as [string, string],
  logFile: join(dir, `${name}.log`),
  pidFile: join(dir, `${name}.json`),
  ready: () => Promise.resolve(true),
});

test('a daemon is known by pid and start time, so that a recycled pid is left alone', async () => {
  const daemon = await startDaemon(sleeper('sleeper'));
  expect(readPidFile(join(dir, 'sleeper.json'))).toEqual({ pid: daemon.pid, startTime: daemon.startTime });
  const recycled = { pid: daemon.pid, startTime: `${Number(daemon.startTime) - 1}` };
  expect(isAlive(recycled)).toBe(false);
  expect(await endProcess(recycled)).toBe('was gone');
  expect(isAlive(daemon)).toBe(true);
  expect(await endProcess(daemon)).toBe('ended');
  expect(startTimeOf(daemon.pid)).toBeUndefined();
});

test('a daemon that ends while starting is reported with the end of its log', async () => {
  const options = {
    ...sleeper('failing'),
    argv: ['sh', '-c', 'echo no such wing >&2; exit 3'] as [string, ...string[]],
  };
  const start = startDaemon({ ...options, ready: () => Promise.resolve(false) });
  await expect(start).rejects.toThrow(/failing ended[\s\S]*no such wing/);
});

test('one that ignores SIGTERM is killed', async () => {
  const ready = join(dir, 'deaf.ready');
  const script = `trap '' TERM; echo > ${ready}; while :; do sleep 0.1; done`;
  const daemon = await startDaemon({
    ...sleeper('deaf'),
    argv: ['sh', '-c', script],
    ready: async () => existsSync(ready),
  });
  expect(await endProcess(daemon, { graceMs: 100 })).toBe('killed');
});

test('the log of the start before is kept', async () => {
  writeFileSync(join(dir, 'rotated.log'), 'before\n');
  const daemon = await startDaemon({ ...sleeper('rotated') });
  await daemon.stop();
  expect(readFileSync(join(dir, 'rotated.log.1'), 'utf8')).toBe('before\n');
});
