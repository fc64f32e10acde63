import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { Sandbox } from '@wrenn/sdk';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import WebSocket from 'ws';
import { type Api, apiOf } from './testing/api.ts';
import { hostState, vmmOf } from './testing/host-state.ts';
import { killService } from './testing/processes.ts';
import { sharedStack } from './testing/shared-stack.ts';
import { isBuilt, type Stack } from './testing/stack.ts';

/** A pause and a resume take some two seconds on two cores; every tenth time agent and control plane are killed in between. */
const CYCLES = Number(process.env.WRENN_STORY_CYCLES ?? 5);
const KILL_EVERY = 10;

/** A process with state in its memory, a file that it holds open, and a timer that it waits for. */
const PROGRAM = `
import hashlib, os, sys, threading, time
blob = os.urandom(8 << 20)
ticks = 0
log = open('/tmp/log', 'a', buffering=1)
def tick():
    global ticks
    while True:
        ticks += 1
        log.write(f'{ticks}\\n')
        time.sleep(0.05)
threading.Thread(target=tick, daemon=True).start()
print('started', hashlib.sha256(blob).hexdigest(), flush=True)
for line in sys.stdin:
    print(line.strip(), hashlib.sha256(blob).hexdigest(), ticks, flush=True)
`;

describe.runIf(isBuilt)('a sandbox with a living process', { timeout: 600_000 }, () => {
  let stack: Stack;
  let api: Api;
  let connection: { apiUrl: string; apiKey: string };
  const made: string[] = [];

  beforeAll(async () => {
    stack = await sharedStack();
    api = apiOf(stack);
    connection = { apiUrl: stack.url, apiKey: stack.apiKey };
  });
  afterAll(async () => {
    for (const id of made) await api('DELETE', `/v1/sandboxes/${id}`);
  });

  async function create(options: object = {}): Promise<Sandbox> {
    const sandbox = await Sandbox.create({ ...connection, memoryMb: 256, ...options });
    made.push(sandbox.id);
    return sandbox;
  }
  const sh = async (sandbox: Sandbox, script: string) =>
    (await sandbox.commands.run('sh', ['-c', script], { timeoutSec: 60 })).stdout.trim();

  /** Starts the program behind a named pipe, which outlives every connection; resolves with its checksum. */
  async function startProgram(sandbox: Sandbox): Promise<string> {
    await sandbox.files.write('/tmp/program.py', new TextEncoder().encode(PROGRAM));
    await sh(sandbox, 'mkfifo /tmp/in; nohup sh -c "tail -f /dev/null > /tmp/in" >/dev/null 2>&1 & true');
    await sh(sandbox, 'nohup python3 /tmp/program.py < /tmp/in > /tmp/out 2>&1 & true');
    return sh(sandbox, 'until grep -q started /tmp/out; do sleep 0.05; done; cut -d" " -f2 /tmp/out');
  }
  /** The terminal of API2. */
  async function openTerminal(sandbox: Sandbox, first: object) {
    const url = `${stack.url.replace('http', 'ws')}/v1/sandboxes/${sandbox.id}/pty`;
    const socket = new WebSocket(url, { headers: { 'x-api-key': stack.apiKey } });
    let pid = 0;
    let output = '';
    socket.on('message', (data: Buffer, isBinary: boolean) => {
      if (isBinary) output += data.toString();
      else pid = JSON.parse(data.toString()).pid ?? pid;
    });
    const closed = new Promise((resolve) => socket.once('close', resolve));
    await once(socket, 'open');
    socket.on('error', () => {}); // a close follows
    socket.send(JSON.stringify(first));
    const type = (text: string) => socket.send(Buffer.from(text));
    return { type, closed, pid: () => pid, output: () => output };
  }
  /** Asks the living process; resolves with its checksum and how often its timer has fired. */
  async function askProgram(sandbox: Sandbox): Promise<{ checksum: string; ticks: number }> {
    const word = randomUUID();
    const line = await sh(
      sandbox,
      `echo ${word} > /tmp/in; until grep -q ${word} /tmp/out; do sleep 0.05; done; grep ${word} /tmp/out`,
    );
    const [, checksum = '', ticks = ''] = line.split(' ');
    return { checksum, ticks: Number(ticks) };
  }

  test('goes on where it stood after a pause, a kill of agent and control plane, and a resume, again and again', async () => {
    const sandbox = await create({ labels: { story: 'pause' } });
    const checksum = await startProgram(sandbox);
    const content = createHash('sha256').update(randomUUID()).digest('hex');
    await sandbox.files.write('/home/user/kept', new TextEncoder().encode(content));
    const pid = await sh(sandbox, 'pgrep -f program.py | head -1');
    let ticks = (await askProgram(sandbox)).ticks;

    const sizes: number[] = [];
    for (let cycle = 1; cycle <= CYCLES; cycle += 1) {
      const paused = await sandbox.pause();
      expect(paused).toMatchObject({ id: sandbox.id, status: 'paused', labels: { story: 'pause' }, host_ip: null });
      const { memory_bytes = 0, disk_bytes = 0 } = paused.snapshot ?? {};
      expect(memory_bytes).toBeGreaterThan(8 << 20);
      sizes.push(memory_bytes + disk_bytes);
      // The incarnation that it was resumed from goes behind its back.
      const folders = async () =>
        (await hostState(stack.settings)).sandboxFolders.filter((name) => name.startsWith(sandbox.id));
      await expect.poll(folders, { timeout: 20_000 }).toEqual([`${sandbox.id}.${cycle}`]);
      expect(() => vmmOf(stack.settings, sandbox.id)).toThrow('no VMM');
      if (cycle % KILL_EVERY === 1) {
        await killService(stack.settings, 'agent');
        await killService(stack.settings, 'control-plane');
        await sharedStack();
        const { body } = await api('GET', `/v1/sandboxes/${sandbox.id}`);
        expect(body).toMatchObject({ status: 'paused', unreachable: false });
      }
      const resumed = await Sandbox.connect(sandbox.id, { ...connection, resume: true });
      expect((await resumed.info()).status).toBe('running');
      const now = await askProgram(resumed);
      expect(now.checksum).toBe(checksum);
      expect(now.ticks).toBeGreaterThan(ticks);
      ticks = now.ticks;
      expect(new TextDecoder().decode(await resumed.files.read('/home/user/kept'))).toBe(content);
      const facts = await sh(resumed, 'pgrep -f program.py | head -1; hostname; date +%s');
      const [process, name, clock] = facts.split('\n');
      expect([process, name]).toEqual([pid, sandbox.id]);
      expect(Math.abs(Number(clock) - Date.now() / 1_000)).toBeLessThan(5);
    }
    console.log(`stored after each pause, in MB: ${sizes.map((bytes) => Math.round(bytes / (1 << 20))).join(' ')}`);
    // Merged time and again: what is stored is bounded by the guest's memory, whatever the number of pauses.
    expect(Math.max(...sizes)).toBeLessThan(256 << 20);
    const { body } = await api('GET', `/v1/actors/sandbox/${sandbox.id}/journal?limit=100`);
    const types = body.items.map(({ event }: { event: { type: string } }) => event.type);
    for (const type of ['PAUSE', 'VM_PAUSED', 'RESUME', 'RESERVED', 'VM_READY']) expect(types).toContain(type);
  });

  test('has a terminal that breaks at a pause; its shell lives on, and is connected to after the resume', async () => {
    const sandbox = await create();
    const first = await openTerminal(sandbox, { type: 'start', cmd: '/bin/bash', args: ['--norc'] });
    await expect.poll(() => first.pid(), { timeout: 20_000 }).toBeGreaterThan(0);
    first.type('kept=in-memory; echo ready | tr a-z A-Z\n');
    await expect.poll(() => first.output(), { timeout: 20_000 }).toContain('READY');
    await sandbox.pause();
    await first.closed;
    await sandbox.resume();
    const again = await openTerminal(sandbox, { type: 'connect', pid: first.pid() });
    again.type('echo "<$kept>"\n');
    await expect.poll(() => again.output(), { timeout: 20_000 }).toContain('<in-memory>');
    await sandbox.kill();
    await again.closed;
  });

  test('a snapshot of it under a name starts others with its memory; deleting one breaks none (SN9)', async () => {
    const parent = await create();
    const checksum = await startProgram(parent);
    const name = `e2e-${randomUUID().slice(0, 8)}`;
    const template = await parent.snapshot(name);
    expect(template).toMatchObject({ name, type: 'snapshot', memory_mb: 256, sandbox_id: parent.id });
    expect((await askProgram(parent)).checksum).toBe(checksum); // it runs on
    const wrong = await api('POST', '/v1/sandboxes', { template: name, memory_mb: 512 });
    expect(wrong).toMatchObject({ status: 400, body: { error: { message: 'memory_mb: the template has 256' } } });

    const children = await Promise.all([1, 2, 3].map(() => create({ template: name, memoryMb: undefined })));
    await parent.kill();
    await Sandbox.deleteSnapshot(name, connection);
    const answers = await Promise.all(children.map(askProgram));
    expect(answers.map((answer) => answer.checksum)).toEqual([checksum, checksum, checksum]);
    const hosts = await Promise.all(children.map((child) => sh(child, 'hostname')));
    expect(hosts).toEqual(children.map(({ id }) => id));
    expect((await api('POST', '/v1/sandboxes', { template: name })).status).toBe(404);
    await Promise.all(children.map((child) => child.kill()));
  });

  test('forks into others that run on from the same moment, each as itself (SN10, SN11)', async () => {
    const parent = await create({ envs: { KEPT: 'yes' } });
    const checksum = await startProgram(parent);
    const { sandboxes, errors } = await parent.fork(3);
    expect(errors).toEqual([]);
    made.push(...sandboxes.map(({ id }) => id));
    const all = [parent, ...sandboxes];
    const answers = await Promise.all(all.map(askProgram));
    expect(new Set(answers.map((answer) => answer.checksum))).toEqual(new Set([checksum]));
    expect(await Promise.all(all.map((one) => sh(one, 'hostname')))).toEqual(all.map(({ id }) => id));
    const random = await Promise.all(all.map((one) => sh(one, 'head -c 16 /dev/urandom | sha256sum')));
    expect(new Set(random).size).toBe(all.length);
    expect(await sh(sandboxes[0] as Sandbox, 'echo $KEPT')).toBe('yes');
    await sh(sandboxes[0] as Sandbox, 'echo mine > /home/user/own');
    expect(await sh(parent, 'ls /home/user/own 2>/dev/null | wc -l')).toBe('0');
    await Promise.all(all.map((one) => one.kill()));
  });

  test('is paused 10 to 13 s after its last activity, whatever that was (SN7)', async () => {
    const sandbox = await create({ timeoutSec: 10 });
    // Another activity in each of the first seconds; the control plane hears of none of them.
    for (const activity of ['echo exec', 'sleep 3', 'touch /tmp/file']) await sh(sandbox, activity);
    await sandbox.files.read('/tmp/file');
    await expect.poll(async () => (await sandbox.info()).status, { timeout: 60_000, interval: 250 }).toBe('paused');
    const { body } = await api('GET', `/v1/actors/sandbox/${sandbox.id}/journal?limit=200`);
    const entries = body.items.filter(({ outcome }: { outcome: string }) => outcome === 'transition');
    const at = (entry: { at: string }) => Date.parse(entry.at);
    const active = entries.findLast(({ event }: { event: { type: string } }) => event.type === 'ACTIVE');
    const lastActivity = at(active) - active.event.idle_ms;
    const asked = entries.findLast(({ event }: { event: { type: string } }) => event.type.startsWith('xstate.after'));
    expect(at(asked) - lastActivity).toBeGreaterThanOrEqual(10_000);
    expect(at(asked) - lastActivity).toBeLessThan(13_000);
    expect((await sandbox.info()).reason?.code).toBe('idle_timeout');
    await sandbox.resume();
    expect((await sandbox.info()).timeout_sec).toBe(10); // SN8
    await sandbox.kill();
  });

  test('has one legal outcome for commands at once, and refuses the others with 409 (SN13)', async () => {
    const sandbox = await create();
    const both = (verb: string) => Promise.all([1, 2].map(() => api('POST', `/v1/sandboxes/${sandbox.id}/${verb}`)));
    for (const [verb, after] of [
      ['pause', 'paused'],
      ['resume', 'running'],
    ] as const) {
      const answers = await both(verb);
      expect(answers.map(({ status }) => status).sort()).toEqual([200, 409]);
      const refused = answers.find(({ status }) => status === 409);
      expect(refused?.body.error.code).toBe('illegal_command');
      expect(refused?.body.error.details.legal_commands).toContain('DESTROY');
      expect((await sandbox.info()).status).toBe(after);
    }
    const [pause, destroy] = await Promise.all([
      api('POST', `/v1/sandboxes/${sandbox.id}/pause`),
      api('DELETE', `/v1/sandboxes/${sandbox.id}`),
    ]);
    expect(destroy.status).toBe(204);
    expect([200, 409]).toContain(pause.status);
    expect((await sandbox.info()).status).toBe('stopped');
    const state = await hostState(stack.settings);
    expect(state.sandboxFolders.filter((name) => name.startsWith(sandbox.id))).toEqual([]);
  });

  describe.each(['agent', 'control-plane'] as const)('kill -9 of the %s', (victim) => {
    test.each(['pause', 'resume', 'fork'] as const)(
      'in the middle of a %s loses and doubles nothing (X3)',
      async (verb) => {
        const labels = { family: randomUUID() };
        const sandbox = await create({ labels });
        const checksum = await startProgram(sandbox);
        if (verb === 'resume') await sandbox.pause();
        const path = `/v1/sandboxes/${sandbox.id}`;
        const lost = api('POST', `${path}/${verb}`).catch(() => undefined);
        // As soon as the command is committed; how far the host has come by then is left to chance.
        const begun = { pause: 'PAUSE', resume: 'RESUME', fork: 'FORK' }[verb];
        const types = async () =>
          (await api('GET', `/v1/actors/sandbox/${sandbox.id}/journal?limit=100`)).body.items.map(
            ({ event }: { event: { type: string } }) => event.type,
          );
        await expect.poll(types, { interval: 10 }).toContain(begun);
        await killService(stack.settings, victim);
        await sharedStack();
        await lost;
        const family = async () => (await api('GET', `/v1/sandboxes?label=family=${labels.family}`)).body.items;
        const settled = async () => {
          const all = await family();
          // A fork whose snapshot was made has a child, which may have yet to come into being.
          const wanted = (await types()).includes('BRANCHED') ? 2 : 1;
          const rests = ({ status, operation }: { status: string; operation: string }) =>
            ['running', 'paused', 'error'].includes(status) && operation === 'none';
          return all.length === wanted && all.every(rests);
        };
        await expect.poll(settled, { timeout: 120_000, interval: 200 }).toBe(true);
        for (const { id, status } of await family()) {
          made.push(id);
          if (status === 'error') {
            expect(id).not.toBe(sandbox.id); // only a child may not have come to be
            continue;
          }
          const one = await Sandbox.connect(id, { ...connection, resume: true });
          expect((await askProgram(one)).checksum).toBe(checksum);
        }
        for (const { id } of await family()) await api('DELETE', `/v1/sandboxes/${id}`);
        const state = await hostState(stack.settings);
        expect(state.sandboxFolders.filter((name) => name.startsWith(sandbox.id))).toEqual([]);
      },
    );
  });
});
