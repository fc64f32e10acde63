import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { call } from './gateway.ts';
import { envdIsBuilt } from './testing/envd.ts';
import { type GuestFleet, startGuestFleet } from './testing/guest-fleet.ts';

let { fleet, agent, key, id, post, close } = {} as GuestFleet;
const folder = mkdtempSync(join(tmpdir(), 'wrenn-guest-test-'));

const exec = (body: unknown) => post('/exec', body);

/** A socket whose messages are collected; `next` takes them one by one. */
async function open(path: string, of = id) {
  const socket = new WebSocket(`${fleet.url.replace('http', 'ws')}/v1/sandboxes/${of}${path}`, {
    headers: { 'x-api-key': key },
  });
  // biome-ignore lint/suspicious/noExplicitAny: frames of all shapes
  const frames: any[] = [];
  let wake = () => {};
  socket.on('message', (data: Buffer, binary) => {
    frames.push(binary ? { type: 'bytes', bytes: data } : JSON.parse(data.toString()));
    wake();
  });
  let why = '';
  const closed = new Promise<number>((resolve) =>
    socket.on('close', (code, reason) => {
      why = `closed with ${code} ${reason}`;
      resolve(code);
    }),
  );
  void closed.then(() => wake());
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  return {
    socket,
    frames,
    closed,
    send: (message: unknown) => socket.send(JSON.stringify(message)),
    next: async () => {
      while (frames.length === 0) {
        if (socket.readyState === WebSocket.CLOSED) throw new Error(why);
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return frames.shift();
    },
  };
}

describe.runIf(envdIsBuilt)('a guest', () => {
  beforeAll(async () => {
    ({ fleet, agent, key, id, post, close } = await startGuestFleet('127.0.9.1'));
  });
  afterAll(async () => {
    await close?.();
    rmSync(folder, { recursive: true });
  });

  describe('exec (API2)', () => {
    test('runs an argument vector, without a shell', async () => {
      const answer = await exec({ cmd: 'printf', args: ['%s|', '$HOME', 'a b', 'ž'], cwd: '/', envs: { A: '1' } });
      expect(answer.status).toBe(200);
      expect(answer.body).toMatchObject({ stdout: '$HOME|a b|ž|', stderr: '', exit_code: 0, encoding: 'utf-8' });
      expect(answer.body.duration_ms).toBeGreaterThan(0);
    });

    test('exit code, stderr, environment, folder and input', async () => {
      const script = 'read x; echo "$x $A $PWD"; echo oops >&2; exit 3';
      const answer = await exec({ cmd: 'sh', args: ['-c', script], cwd: '/usr', envs: { A: '1' }, stdin: 'in\n' });
      expect(answer.body).toMatchObject({ stdout: 'in 1 /usr\n', stderr: 'oops\n', exit_code: 3 });
    });

    test('input that nobody reads, and 900 kB of it that comes back', async () => {
      expect((await exec({ cmd: 'true', stdin: 'x'.repeat(100_000) })).body.exit_code).toBe(0);
      const text = 'ž'.repeat(450_000);
      expect((await exec({ cmd: 'cat', stdin: text })).body.stdout).toBe(text);
    });

    test('bytes that are not UTF-8 come as base64', async () => {
      const { body } = await exec({ cmd: 'printf', args: ['\\377\\376'] });
      expect(body).toMatchObject({ encoding: 'base64', stdout: Buffer.from([255, 254]).toString('base64') });
    });

    test('a missing command is 127 with a message, one that cannot be executed 126', async () => {
      const missing = await exec({ cmd: 'no-such-command' });
      expect(missing).toMatchObject({ status: 200, body: { exit_code: 127 } });
      expect(missing.body.stderr).toContain("'no-such-command' not found");
      expect((await exec({ cmd: '/etc/passwd' })).body.exit_code).toBe(126);
    });

    test.each([
      [{ cmd: 'true', cwd: '/no/such/folder' }, 'does not exist'],
      [{ cmd: 'true', user: 'nobodyhere' }, 'username'],
      [{ cmd: '' }, 'empty'],
      [{ cmd: 'true', args: ['a\0b'] }, 'NUL'],
      [{ cmd: 'true', shell: true }, 'unknown field'],
      [{ args: [] }, 'cmd: is required'],
    ])('%j is 400', async (body, words) => {
      const answer = await exec(body);
      expect(answer.status).toBe(400);
      expect(answer.body.error.message).toContain(words);
    });

    test('a command that outlives its time is killed, and what it wrote is told', async () => {
      const answer = await exec({ cmd: 'sh', args: ['-c', 'echo early; sleep 30'], timeout_sec: 0.4 });
      expect(answer.status).toBe(504);
      expect(answer.body.error).toMatchObject({ code: 'timeout', details: { stdout: 'early\n', timeout_sec: 0.4 } });
      expect(answer.body.error.details.duration_ms).toBeLessThan(5_000);
    });

    test('output without end is stopped', async () => {
      const answer = await exec({ cmd: 'cat', args: ['/dev/zero'] });
      expect(answer).toMatchObject({ status: 413, body: { error: { code: 'output_too_large' } } });
    });

    test('silence of more than the idle time of connections is no end', async () => {
      expect((await exec({ cmd: 'sh', args: ['-c', 'sleep 6; echo late'] })).body.stdout).toBe('late\n');
    });

    test('processes are listed and ended by tag', async () => {
      const stream = await open('/exec/stream');
      stream.send({ type: 'start', cmd: 'sleep', args: ['60'], tag: 'sleeper' });
      const { pid } = await stream.next();
      const list = await call(fleet, 'GET', `/v1/sandboxes/${id}/processes`, { key });
      expect(list.body.items).toContainEqual({ pid, tag: 'sleeper', cmd: 'sleep', args: ['60'], cwd: null });
      const end = (query: string) => call(fleet, 'DELETE', `/v1/sandboxes/${id}/processes?${query}`, { key });
      expect((await end('tag=sleeper')).status).toBe(204);
      expect(await stream.next()).toMatchObject({ type: 'exit', exit_code: -1 });
      expect((await end('tag=sleeper')).status).toBe(404);
      expect((await end('')).status).toBe(400);
    });

    test('of another team is 404, with a malformed id 400', async () => {
      const other = await fleet.newKey();
      expect((await post('/exec', { cmd: 'true' }, other)).status).toBe(404);
      expect((await call(fleet, 'POST', '/v1/sandboxes/sb1/exec', { key, body: { cmd: 'true' } })).status).toBe(400);
    });
  });

  describe('WS exec/stream (API2)', () => {
    test('output as it comes, input, end', async () => {
      const stream = await open('/exec/stream');
      stream.send({
        type: 'start',
        cmd: 'sh',
        args: ['-c', 'read x; echo "got $x"; echo bad >&2; exit 4'],
        stdin: true,
      });
      expect(await stream.next()).toMatchObject({ type: 'start', pid: expect.any(Number) });
      stream.send({ type: 'stdin', data: 'žluť\n' });
      const frames = [await stream.next(), await stream.next()];
      expect(frames).toContainEqual({ type: 'stdout', data: 'got žluť\n' });
      expect(frames).toContainEqual({ type: 'stderr', data: 'bad\n' });
      expect(await stream.next()).toMatchObject({ type: 'exit', exit_code: 4, duration_ms: expect.any(Number) });
      expect(await stream.closed).toBe(1000);
    });

    test('a character is never split', async () => {
      const stream = await open('/exec/stream');
      const script = "printf '\\305'; sleep 0.2; printf '\\276|'; sleep 0.2; printf '\\305'";
      stream.send({ type: 'start', cmd: 'sh', args: ['-c', script] });
      await stream.next();
      expect(await stream.next()).toEqual({ type: 'stdout', data: 'ž|' });
      expect(await stream.next()).toEqual({ type: 'stdout', data: '\ufffd' });
      expect((await stream.next()).exit_code).toBe(0);
    });

    test('base64 both ways, and the end of input', async () => {
      const stream = await open('/exec/stream');
      stream.send({ type: 'start', cmd: 'cat', stdin: true, encoding: 'base64' });
      await stream.next();
      stream.send({ type: 'stdin', data: Buffer.from([0, 255]).toString('base64') });
      stream.send({ type: 'close_stdin' });
      expect(await stream.next()).toEqual({ type: 'stdout', data: 'AP8=' });
      expect(await stream.next()).toMatchObject({ type: 'exit', exit_code: 0 });
    });

    test('signal and stop end the tree', async () => {
      const stream = await open('/exec/stream');
      stream.send({
        type: 'start',
        cmd: 'sh',
        args: ['-c', 'trap "echo caught; exit 5" TERM; echo up; while :; do sleep 0.1; done'],
      });
      await stream.next();
      expect(await stream.next()).toMatchObject({ data: 'up\n' });
      stream.send({ type: 'signal', signal: 'SIGTERM' });
      expect(['exit', 'stdout', 'stderr']).toContain((await stream.next()).type);
      const second = await open('/exec/stream');
      second.send({ type: 'start', cmd: 'sleep', args: ['60'] });
      await second.next();
      second.send({ type: 'stop' });
      expect(await second.next()).toMatchObject({ type: 'exit', exit_code: -1 });
    });

    test('what is sent just before leaving is done', async () => {
      const stream = await open('/exec/stream');
      stream.send({ type: 'start', cmd: 'sleep', args: ['60'], tag: 'last words' });
      await stream.next();
      const watcher = await open('/exec/stream');
      watcher.send({ type: 'connect', tag: 'last words' });
      expect(await watcher.next()).toMatchObject({ type: 'start' });
      stream.send({ type: 'stop' });
      stream.socket.close();
      expect(await watcher.next()).toMatchObject({ type: 'exit', exit_code: -1 });
    });

    test('leaving does not end the process; it is found again by tag, with its output', async () => {
      const first = await open('/exec/stream');
      first.send({ type: 'start', cmd: 'sh', args: ['-c', 'echo one; sleep 1.2; echo two; sleep 30'], tag: 'kept' });
      await first.next();
      expect(await first.next()).toMatchObject({ data: 'one\n' });
      first.socket.terminate();
      await first.closed;
      const again = await open('/exec/stream');
      again.send({ type: 'connect', tag: 'kept', replay: true });
      expect(await again.next()).toMatchObject({ type: 'start' });
      expect(await again.next()).toEqual({ type: 'stdout', data: 'one\n' });
      expect(await again.next()).toEqual({ type: 'stdout', data: 'two\n' });
      again.send({ type: 'stop' });
      expect((await again.next()).type).toBe('exit');
    });

    test.each([
      ['not json', 'bad_request', 1003],
      ['{"type":"stdin","data":""}', 'bad_request', 1003],
      ['{"type":"start","cmd":"true","cwd":"/nowhere"}', 'bad_request', 1003],
      ['{"type":"connect","tag":"nothing"}', 'not_found', 1003],
    ])('%s is an error and the end', async (text, code, close) => {
      const stream = await open('/exec/stream');
      stream.socket.send(text);
      expect(await stream.next()).toMatchObject({ type: 'error', code });
      expect(await stream.closed).toBe(close);
    });

    test('a missing command ends with 127', async () => {
      const stream = await open('/exec/stream');
      stream.send({ type: 'start', cmd: 'no-such-command' });
      expect((await stream.next()).type).toBe('stderr');
      expect(await stream.next()).toMatchObject({ type: 'exit', exit_code: 127 });
    });

    test('50 MB arrive whole at a client that reads slowly, in constant memory', async () => {
      const stream = await open('/exec/stream');
      stream.send({ type: 'start', cmd: 'head', args: ['-c', '50000000', '/dev/zero'], encoding: 'base64' });
      stream.socket.pause();
      await sleep(500);
      const before = process.memoryUsage().rss;
      stream.socket.resume();
      let bytes = 0;
      for (;;) {
        const frame = await stream.next();
        if (frame.type === 'exit') break;
        if (frame.type === 'stdout') bytes += Buffer.from(frame.data, 'base64').length;
      }
      expect(bytes).toBe(50_000_000);
      expect(process.memoryUsage().rss - before).toBeLessThan(150_000_000);
    });
  });

  test('WS pty: size, bytes both ways, resize, end (API2)', async () => {
    const pty = await open('/pty');
    pty.send({ type: 'start', cols: 90, rows: 30, cmd: 'sh' });
    expect(await pty.next()).toMatchObject({ type: 'start' });
    let seen = '';
    const until = async (text: string) => {
      while (!seen.includes(text)) {
        const frame = await pty.next();
        expect(frame.type).toBe('bytes');
        seen += frame.bytes.toString();
      }
    };
    pty.socket.send(Buffer.from('stty size; echo $TERM\n'));
    await until('30 90');
    await until('xterm-256color');
    pty.send({ type: 'resize', cols: 120, rows: 40 });
    pty.send({ type: 'stdin', data: 'stty size\n' });
    await until('40 120');
    pty.send({ type: 'stdin', data: 'exit 7\n' });
    for (;;) {
      const frame = await pty.next();
      if (frame.type === 'exit') {
        expect(frame.exit_code).toBe(7);
        break;
      }
    }
  });

  test('a guest that is gone before we know is 409, a destroyed one cuts its streams', async () => {
    const { body } = await call(fleet, 'POST', '/v1/sandboxes', { key });
    const run = () => call(fleet, 'POST', `/v1/sandboxes/${body.id}/exec`, { key, body: { cmd: 'true' } });
    expect((await run()).status).toBe(200);
    const long = call(fleet, 'POST', `/v1/sandboxes/${body.id}/exec`, { key, body: { cmd: 'sleep', args: ['20'] } });
    await sleep(200);
    agent.shut(body.id);
    expect((await run()).body.error).toMatchObject({ code: 'not_running' });
    expect((await call(fleet, 'DELETE', `/v1/sandboxes/${body.id}`, { key })).status).toBe(204);
    expect((await long).status).toBeGreaterThanOrEqual(409);
    expect((await run()).body.error).toMatchObject({ code: 'not_running', details: { state: 'stopped' } });
  });

  test('a timer that only asks to pause what is idle refuses nobody; a paused guest is 409 (SN7)', async () => {
    const created = await call(fleet, 'POST', '/v1/sandboxes', { key, body: { timeout_sec: 2 } });
    const path = `/v1/sandboxes/${created.body.id}`;
    const status = async () => (await call(fleet, 'GET', path, { key })).body.status;
    const run = () => call(fleet, 'POST', `${path}/exec`, { key, body: { cmd: 'echo', args: ['here'] } });
    agent.nextSave = 'held';
    await expect.poll(status, { timeout: 15_000, interval: 20 }).toBe('pausing');
    expect((await run()).body).toMatchObject({ stdout: 'here\n' });
    agent.letGo();
    await expect.poll(status).toBe('paused');
    expect((await run()).body.error).toMatchObject({ code: 'not_running', details: { state: 'paused' } });
    expect((await call(fleet, 'DELETE', path, { key })).status).toBe(204);
  });

  test('auto_resume: commands, files and sockets of a paused one wait for one resume, a look does not', async () => {
    const { body } = await call(fleet, 'POST', '/v1/sandboxes', { key, body: { auto_resume: true } });
    const path = `/v1/sandboxes/${body.id}`;
    const resumes = () =>
      agent.commands.filter(({ name, command }) => name === 'resume' && command?.sandboxId === body.id).length;
    await call(fleet, 'POST', `${path}/pause`, { key });
    const run = () => call(fleet, 'POST', `${path}/exec`, { key, body: { cmd: 'echo', args: ['here'] } });
    const list = () => call(fleet, 'POST', `${path}/files/list`, { key, body: { path: folder } });
    const answers = await Promise.all([run(), list(), run(), list()]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    expect(resumes()).toBe(1);
    await call(fleet, 'POST', `${path}/pause`, { key });
    const pty = await open('/pty', body.id);
    pty.send({ type: 'start', cmd: 'true' });
    expect(await pty.next()).toMatchObject({ type: 'start' });
    expect(resumes()).toBe(2);
    await call(fleet, 'POST', `${path}/pause`, { key });
    await expect(open('/metrics/stream', body.id)).rejects.toThrow('409');
    expect((await call(fleet, 'DELETE', path, { key })).status).toBe(204);
    expect(resumes()).toBe(2);
  });
});
