import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { watch } from 'node:fs';
import { access, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { QmpClient, QmpClosed, QmpError } from './qmp.ts';

let folder: string;
let socket: string;
let qemu: ChildProcess;
const signal = () => AbortSignal.timeout(10_000);

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wrenn-qmp-'));
  socket = join(folder, 'qmp.sock');
  const there = fileAppears(socket);
  qemu = spawn('qemu-system-x86_64', ['-M', 'none', '-display', 'none', '-qmp', `unix:${socket},server=on,wait=off`]);
  await there;
  await untilAccepted();
});

afterEach(async () => {
  if (qemu.exitCode === null && qemu.signalCode === null) {
    qemu.kill('SIGKILL');
    await once(qemu, 'exit');
  }
  await rm(folder, { recursive: true });
});

test('asks QEMU, tells its refusals by class, and hears its events', async () => {
  const client = await QmpClient.connect(socket, signal());
  expect(await client.execute('query-status', undefined, signal())).toMatchObject({ running: true, status: 'running' });
  // A command that is not in the table reaches QEMU only in this test.
  const unknown = client.execute('no-such-command' as 'quit', undefined, signal());
  await expect(unknown).rejects.toThrow(QmpError);
  await expect(unknown).rejects.toMatchObject({ kind: 'CommandNotFound' });

  const events: string[] = [];
  const listening = (async () => {
    for await (const { event } of client.events(signal())) events.push(event);
  })();
  await client.execute('quit', undefined, signal());
  await listening; // ends with the socket
  expect(events).toContain('SHUTDOWN');
  await expect(client.execute('query-status', undefined, signal())).rejects.toThrow(QmpClosed);
});

test('commands that are sent at once are done one after the other', async () => {
  const client = await QmpClient.connect(socket, signal());
  const ask = () => client.execute('query-status', undefined, signal());
  const answers = await Promise.all([
    ask(),
    client.execute('stop', undefined, signal()),
    ask(),
    client.execute('cont', undefined, signal()),
    ask(),
  ]);
  expect(answers.map((answer) => (answer as { status?: string }).status)).toEqual([
    ...['running', undefined, 'paused', undefined, 'running'],
  ]);
  client.close();
});

test('VM2: a VMM that has died is known at once', async () => {
  const client = await QmpClient.connect(socket, signal());
  const pending = client.execute('query-status', undefined, signal()).catch((error) => error);
  qemu.kill('SIGKILL');
  await once(qemu, 'exit');
  expect((await pending) instanceof QmpClosed || (await pending).running === true).toBe(true);
  await expect(QmpClient.connect(socket, signal())).rejects.toThrow(QmpClosed);
  await expect(QmpClient.connect(socket, signal())).rejects.toMatchObject({ code: 'vmm_failed', retryable: true });
});

test('an aborted call is forgotten and the connection goes on', async () => {
  const client = await QmpClient.connect(socket, signal());
  const aborted = new AbortController();
  const call = client.execute('query-status', undefined, aborted.signal);
  aborted.abort(new Error('enough'));
  await expect(call).rejects.toThrow('enough');
  expect(await client.execute('query-status', undefined, signal())).toMatchObject({ running: true });
  client.close();
  await expect(QmpClient.connect(socket, AbortSignal.abort(new Error('never')))).rejects.toThrow('never');
});

/** The socket has a name a moment before QEMU listens on it. */
async function untilAccepted(): Promise<void> {
  await expect
    .poll(() => QmpClient.connect(socket, signal()).then((client) => client.close(), String), { interval: 5 })
    .toBeUndefined();
}

async function fileAppears(path: string): Promise<void> {
  const watcher = watch(folder);
  try {
    const there = () =>
      access(path).then(
        () => true,
        () => false,
      );
    while (!(await there())) await once(watcher, 'change', { signal: signal() });
  } finally {
    watcher.close();
  }
}
