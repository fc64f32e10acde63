import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { BareAgent } from '../../gateway/test/testing/bare-agent.ts';
import { type Envd, envdIsBuilt, startEnvd } from '../../gateway/test/testing/envd.ts';
import { type Fleet, startFleet } from '../../gateway/test/testing/fleet.ts';
import {
  AuthenticationError,
  ConflictError,
  ConnectionError,
  InvalidRequestError,
  NotFoundError,
  Sandbox,
  type SandboxInfo,
  UnavailableError,
  WrennError,
} from '../src/index.ts';

/** X2 against a real control plane and the real guest agent; with VMs it is used by the whole-system tests. */
describe.runIf(envdIsBuilt)('@wrenn/sdk', () => {
  let fleet: Fleet;
  let envd: Envd;
  let agent: BareAgent;
  let connection: { apiUrl: string; apiKey: string };
  let sandbox: Sandbox;
  const folder = mkdtempSync(join(tmpdir(), 'wrenn-sdk-test-'));

  beforeAll(async () => {
    [fleet, envd] = await Promise.all([startFleet(), startEnvd('127.0.77.1')]);
    ({ agent } = await fleet.addHost({ guest: envd }));
    connection = { apiUrl: fleet.url, apiKey: await fleet.newKey() };
    sandbox = await Sandbox.create({ ...connection, labels: { bird: 'wren' } });
  });
  afterAll(async () => {
    await fleet?.close();
    await envd?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const list = async (options: object = {}) => {
    const all: SandboxInfo[] = [];
    for await (const info of Sandbox.list({ ...connection, ...options })) all.push(info);
    return all;
  };

  describe('sandboxes', () => {
    test('connect that resumes: many at once, one while it is being paused, none of what has ended', async () => {
      const made = await Sandbox.create(connection);
      const wake = async () => (await Sandbox.connect(made.id, { ...connection, resume: true })).info();
      await made.pause();
      const woken = await Promise.all([wake(), wake(), wake()]);
      expect(woken.map(({ status }) => status)).toEqual(['running', 'running', 'running']);
      agent.nextSave = 'held';
      const pausing = made.pause();
      await expect.poll(async () => (await made.info()).status).toBe('pausing');
      const late = wake();
      agent.letGo();
      expect((await pausing).status).toBe('paused');
      expect((await late).status).toBe('running');
      await made.kill();
      await expect(wake()).rejects.toThrow(ConflictError);
    });

    test('create, info, update, ping, connect, list, kill', async () => {
      const made = await Sandbox.create({ ...connection, vcpus: 2, memoryMb: 256, timeoutSec: 60, labels: { a: '1' } });
      expect(made.id).toMatch(/^sb[a-z0-9]{20}$/);
      const info = await made.info();
      expect(info).toMatchObject({ status: 'running', vcpus: 2, memory_mb: 256, timeout_sec: 60, labels: { a: '1' } });
      expect(await made.update({ timeoutSec: 90, labels: { b: '2' } })).toMatchObject({
        timeout_sec: 90,
        labels: { b: '2' },
      });
      await made.ping();
      expect((await Sandbox.connect(made.id, connection)).id).toBe(made.id);
      expect((await list({ status: 'running' })).map(({ id }) => id)).toEqual([made.id, sandbox.id]);
      await made.kill();
      expect((await made.info()).status).toBe('stopped');
    });

    test('a retried create with one key makes one sandbox', async () => {
      const before = (await list()).length;
      const create = () => Sandbox.create({ ...connection, idempotencyKey: 'once' });
      const [a, b] = await Promise.all([create(), create()]);
      expect(a.id).toBe(b.id);
      expect(await list()).toHaveLength(before + 1);
      await a.kill();
    });

    test('a retried snapshot with one key makes one template', async () => {
      const sandbox = await Sandbox.create(connection);
      const snapshot = () => sandbox.snapshot('kept-once', { idempotencyKey: 'kept' });
      const [a, b] = await Promise.all([snapshot(), snapshot()]);
      expect(a).toMatchObject({ name: 'kept-once', sandbox_id: sandbox.id });
      expect(b).toEqual(a);
      await Sandbox.deleteSnapshot('kept-once', connection);
      await sandbox.kill();
    });
  });

  describe('errors are typed', () => {
    test.each([
      ['a foreign or unknown id', () => Sandbox.connect(`sb${'0'.repeat(20)}`, connection), NotFoundError, 'not_found'],
      ['a malformed id', () => Sandbox.connect('nonsense', connection), InvalidRequestError, undefined],
      ['a field out of range', () => Sandbox.create({ ...connection, vcpus: 99 }), InvalidRequestError, undefined],
      [
        'a wrong key',
        () => Sandbox.create({ ...connection, apiKey: `wrn_${'0'.repeat(32)}` }),
        AuthenticationError,
        'unauthorized',
      ],
      [
        'more than any host has',
        () =>
          Sandbox.create({ ...connection, vcpus: 8, memoryMb: 8192 }).then(() =>
            Sandbox.create({ ...connection, vcpus: 8 }),
          ),
        UnavailableError,
        'no_hosts_available',
      ],
      [
        'nobody there',
        () => Sandbox.connect('sb', { ...connection, apiUrl: 'http://127.0.0.1:1' }),
        ConnectionError,
        'unreachable',
      ],
    ] as const)('%s', async (_, act, kind, code) => {
      const error = await act().then(
        () => undefined,
        (failure: unknown) => failure,
      );
      expect(error).toBeInstanceOf(kind);
      expect(error).toBeInstanceOf(WrennError);
      if (code !== undefined) expect((error as WrennError).code).toBe(code);
    });

    test('without an address or a key nothing is sent', async () => {
      await expect(Sandbox.create({ apiUrl: fleet.url, apiKey: '' })).rejects.toThrow('WRENN_API_KEY');
    });
  });

  describe('commands', () => {
    test('the result, also of one that fails or is not there', async () => {
      const fine = await sandbox.commands.run('printf', ['%s', 'a b'], { cwd: '/' });
      expect(fine).toMatchObject({ stdout: 'a b', stderr: '', exitCode: 0 });
      const failed = await sandbox.commands.run('sh', ['-c', 'echo no >&2; exit 4']);
      expect(failed).toMatchObject({ stdout: '', stderr: 'no\n', exitCode: 4 });
      expect((await sandbox.commands.run('no-such-program')).exitCode).toBe(127);
    });

    test('output streams while the command runs', async () => {
      const seen: string[] = [];
      const script = 'echo one; sleep 0.3; echo two; echo err >&2; exit 5';
      const started = performance.now();
      let firstMs = 0;
      const result = await sandbox.commands.run('sh', ['-c', script], {
        onStdout: (text) => {
          firstMs ||= performance.now() - started;
          seen.push(text);
        },
        onStderr: (text) => seen.push(`! ${text}`),
      });
      expect(seen.join('')).toContain('one\n');
      expect(seen.join('')).toContain('! err\n');
      expect(firstMs).toBeLessThan(performance.now() - started - 200);
      expect(result).toMatchObject({ stdout: 'one\ntwo\n', stderr: 'err\n', exitCode: 5 });
    });

    test('input of many frames arrives whole', async () => {
      const stdin = 'Žluťoučký kůň 🐎 '.repeat(150_000);
      const sum = await sandbox.commands.run('sha256sum', [], { stdin, onStdout: () => undefined });
      expect(sum.stdout.slice(0, 64)).toBe(createHash('sha256').update(stdin).digest('hex'));
    });

    test('an abort kills the command and all it started', async () => {
      const abort = new AbortController();
      const running = sandbox.commands.run('sh', ['-c', 'echo up; sleep 3731 & wait'], {
        onStdout: () => abort.abort(new Error('enough')),
        signal: abort.signal,
      });
      await expect(running).rejects.toThrow('enough');
      const left = async () => (await sandbox.commands.run('pgrep', ['-fx', 'sleep 3731'])).stdout;
      await expect.poll(left, { timeout: 5_000 }).toBe('');
    });
  });

  describe('files', () => {
    const at = (name: string) => join(folder, name);

    test.each([
      ['text', 'Zaunkönig', Buffer.from('Zaunkönig')],
      ['nothing', '', Buffer.alloc(0)],
      ['one byte', new Uint8Array([0]), Buffer.from([0])],
      ['a blob', new Blob(['blob']), Buffer.from('blob')],
    ] as const)('%s is written and read back', async (name, content, bytes) => {
      const path = at(`deep/er/${name}`);
      await sandbox.files.write(path, content);
      expect(Buffer.from(await sandbox.files.read(path))).toEqual(bytes);
    });

    test('streams both ways', async () => {
      const chunks = Array.from({ length: 64 }, () => new Uint8Array(randomBytes(262_144)));
      const path = at('streamed');
      await sandbox.files.write(path, ReadableStream.from(chunks) as ReadableStream<Uint8Array>);
      const sent = createHash('sha256');
      for (const chunk of chunks) sent.update(chunk);
      const received = createHash('sha256');
      for await (const chunk of await sandbox.files.readStream(path)) received.update(chunk);
      expect(received.digest('hex')).toBe(sent.digest('hex'));
    });

    test('folders: made with their parents, listed, removed', async () => {
      await sandbox.files.mkdir(at('a/b'));
      await sandbox.files.write(at('a/file'), 'x');
      const entries = await sandbox.files.list(at('a'));
      expect(entries.map(({ name, type }) => `${type} ${name}`).sort()).toEqual(['directory b', 'file file']);
      expect(await sandbox.files.readText(at('a/file'))).toBe('x');
      await sandbox.files.remove(at('a'));
      await expect(sandbox.files.list(at('a'))).rejects.toBeInstanceOf(NotFoundError);
    });

    test('a file that is not there is an error of its own', async () => {
      await expect(sandbox.files.read(at('nothing here'))).rejects.toBeInstanceOf(NotFoundError);
    });
  });
});
