import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { Sandbox } from '@wrenn/sdk';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import WebSocket from 'ws';
import { type Api, apiOf } from './testing/api.ts';
import { fetchText, openRequest, portHost } from './testing/sandbox-http.ts';
import { sharedStack } from './testing/shared-stack.ts';
import { isBuilt, type Stack } from './testing/stack.ts';
import { startWorld, type World } from './testing/world.ts';

/** A server in a guest, of Python's standard library alone: counts, streams, takes bodies, echoes WebSocket messages. */
const SERVER = `
import base64, hashlib, http.server, struct, time
count = 0
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *args): pass
    def text(self, text):
        body = text.encode()
        self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers(); self.wfile.write(body)
    def do_GET(self):
        global count
        if self.path == '/events':
            self.send_response(200); self.send_header('Content-Type', 'text/event-stream'); self.send_header('Connection', 'close'); self.end_headers()
            for i in range(3):
                self.wfile.write(f'data: {i}\\n\\n'.encode()); self.wfile.flush(); time.sleep(1)
            self.close_connection = True
        elif self.path == '/socket':
            key = self.headers['Sec-WebSocket-Key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
            self.send_response(101); self.send_header('Upgrade', 'websocket'); self.send_header('Connection', 'Upgrade')
            self.send_header('Sec-WebSocket-Accept', base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()); self.end_headers()
            while True:
                head = self.rfile.read(2)
                if len(head) < 2 or head[0] & 15 == 8: break
                mask = self.rfile.read(4)
                data = bytes(b ^ mask[i % 4] for i, b in enumerate(self.rfile.read(head[1] & 127)))
                self.wfile.write(struct.pack('BB', 129, len(data)) + data); self.wfile.flush()
            self.close_connection = True
        elif self.path == '/forever':
            self.send_response(200); self.send_header('Connection', 'close'); self.end_headers()
            self.wfile.write(b'begun'); self.wfile.flush(); time.sleep(3600)
        else:
            count += 1
            self.text(f'{count} {self.headers["Host"]}')
    def do_POST(self):
        left, taken = int(self.headers['Content-Length']), 0
        buffer = memoryview(bytearray(1 << 20))
        while taken < left:
            taken += self.rfile.readinto(buffer[:min(len(buffer), left - taken)])
        self.text(str(taken))
http.server.ThreadingHTTPServer(('', 3000), Handler).serve_forever()
`;

describe.runIf(isBuilt)('a server in a sandbox', () => {
  let stack: Stack;
  let api: Api;
  let sandbox: Sandbox;
  let host: string;

  beforeAll(async () => {
    stack = await sharedStack();
    api = apiOf(stack);
    sandbox = await Sandbox.create({ apiUrl: stack.url, apiKey: stack.apiKey });
    await api('PATCH', `/v1/sandboxes/${sandbox.id}`, { public_ports: [3000], auto_resume: true });
    host = portHost(stack, sandbox.id, 3000);
    await startServer(sandbox);
    while ((await fetchText(stack, host)).status !== 200) await new Promise((resolve) => setTimeout(resolve, 100));
  });
  afterAll(async () => {
    await sandbox?.kill().catch(() => undefined);
  });

  async function startServer(at: Sandbox) {
    await at.files.write('server.py', SERVER);
    await at.commands.run('sh', ['-c', 'setsid python3 server.py > /dev/null 2>&1 < /dev/null &']);
  }

  test('PX1: is reached under its host name, which it sees', async () => {
    const { text } = await fetchText(stack, host);
    expect(text).toMatch(new RegExp(`^\\d+ ${host}$`));
    const closed = await fetchText(stack, portHost(stack, sandbox.id, 3001), {
      headers: { 'x-api-key': stack.apiKey },
    });
    expect(closed.status).toBe(502);
    expect(JSON.parse(closed.text).error.details).toMatchObject({ state: 'running', port: 3001 });
    expect((await fetchText(stack, portHost(stack, sandbox.id, 3001))).status).toBe(401);
  });

  test('PX2: takes an upload of 2 GB as a stream', { timeout: 600_000 }, async () => {
    const total = 2_000_000_000;
    const block = Buffer.alloc(1_000_000, 7);
    const sent = openRequest(stack, host, { method: 'POST', headers: { 'content-length': String(total) } });
    const answered = once(sent, 'response') as Promise<[IncomingMessage]>;
    for (let written = 0; written < total; written += block.length) {
      if (!sent.write(block)) await once(sent, 'drain');
    }
    sent.end();
    const [response] = await answered;
    let text = '';
    for await (const chunk of response) text += chunk;
    expect(text).toBe(String(total));
  });

  test('PX2: sends events one by one', async () => {
    const sent = openRequest(stack, host, { path: '/events' });
    sent.end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    const times: number[] = [];
    let text = '';
    for await (const chunk of response) {
      times.push(Date.now());
      text += chunk;
    }
    expect(text).toBe('data: 0\n\ndata: 1\n\ndata: 2\n\n');
    expect(times.length).toBeGreaterThanOrEqual(3);
  });

  test('PX2: keeps a WebSocket through silence: there is no idle timer on the way', { timeout: 300_000 }, async () => {
    const { port } = new URL(stack.url);
    const socket = new WebSocket(`ws://127.0.0.1:${port}/socket`, { headers: { host } });
    await once(socket, 'open');
    // Longer than every timer of the library (10 s of HTTP); WRENN_SILENCE_SEC=180 for the whole story.
    const silence = Number(process.env.WRENN_SILENCE_SEC ?? 15);
    const closed = once(socket, 'close').then(() => 'closed');
    const quiet = new Promise((resolve) => setTimeout(resolve, silence * 1_000, 'quiet'));
    expect(await Promise.race([closed, quiet])).toBe('quiet');
    socket.send('still here');
    expect(String((await once(socket, 'message'))[0])).toBe('still here');
    socket.close();
  });

  test('PX3: is resumed by the next request, with what it had in memory, once for many', async () => {
    const count = async () => Number((await fetchText(stack, host)).text.split(' ')[0]);
    const before = await count();
    expect((await api('POST', `/v1/sandboxes/${sandbox.id}/pause`)).status).toBe(200);
    const answers = await Promise.all([1, 2, 3, 4, 5].map(() => fetchText(stack, host)));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
    expect(await count()).toBe(before + 6);
    const { body } = await api('GET', `/v1/actors/sandbox/${sandbox.id}/journal?limit=200`);
    const resumes = body.items.filter(
      ({ event, outcome, to }: { event: { type: string }; outcome: string; to: unknown }) =>
        event.type === 'RESUME' && outcome === 'transition' && JSON.stringify(to).includes('resuming'),
    );
    expect(resumes.length).toBeGreaterThanOrEqual(1);
  });

  test('PX3: paused without auto-resume is 409 with the state and what is legal', async () => {
    await api('PATCH', `/v1/sandboxes/${sandbox.id}`, { auto_resume: false });
    await api('POST', `/v1/sandboxes/${sandbox.id}/pause`);
    const answer = await fetchText(stack, host);
    expect(answer.status).toBe(409);
    expect(JSON.parse(answer.text).error).toMatchObject({
      code: 'not_running',
      details: { state: 'paused', legal_commands: expect.arrayContaining(['RESUME']) },
    });
    await api('POST', `/v1/sandboxes/${sandbox.id}/resume`);
    expect((await fetchText(stack, host)).status).toBe(200);
  });

  test('AG3: killing the sandbox cuts what is open, and nothing is reached after it', async () => {
    const sent = openRequest(stack, host, { path: '/forever' });
    sent.end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    await once(response, 'data');
    const cut = once(response, 'error');
    await sandbox.kill();
    await cut;
    expect((await fetchText(stack, host)).status).toBe(404);
  });
});

describe.runIf(isBuilt)('NET4: what a guest may reach', () => {
  let stack: Stack;
  let api: Api;
  let world: World;
  let sandbox: Sandbox;

  beforeAll(async () => {
    stack = await sharedStack();
    api = apiOf(stack);
    world = await startWorld();
  });
  afterAll(async () => {
    await sandbox?.kill().catch(() => undefined);
    await world?.close();
  });

  const reaches = async () => {
    const url = `http://${world.address}/`;
    const { exitCode } = await sandbox.commands.run('curl', ['-s', '--max-time', '3', '-o', '/dev/null', url]);
    return exitCode === 0;
  };
  const patch = async (egress: object) => {
    const { status } = await api('PATCH', `/v1/sandboxes/${sandbox.id}`, { egress });
    expect(status).toBe(200);
  };

  test('is changed while it runs, and holds from the start and over a pause', { timeout: 180_000 }, async () => {
    sandbox = await Sandbox.create({ apiUrl: stack.url, apiKey: stack.apiKey });
    expect(await reaches()).toBe(true);
    await patch({ deny: ['0.0.0.0/0'] });
    expect(await reaches()).toBe(false);
    await patch({ allow: [world.address], deny: ['0.0.0.0/0'] });
    expect(await reaches()).toBe(true);
    await patch({ deny: ['10.99.0.0/16'] });
    await api('POST', `/v1/sandboxes/${sandbox.id}/pause`);
    await api('POST', `/v1/sandboxes/${sandbox.id}/resume`);
    expect(await reaches()).toBe(false);
    await sandbox.kill();

    const made = await api('POST', '/v1/sandboxes', { egress: { deny: [world.address] } });
    expect(made.status).toBe(201);
    sandbox = await Sandbox.connect(made.body.id, { apiUrl: stack.url, apiKey: stack.apiKey });
    expect(await reaches()).toBe(false);
    await patch({});
    expect(await reaches()).toBe(true);
  });
});
