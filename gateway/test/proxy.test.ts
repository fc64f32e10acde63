import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { call } from './gateway.ts';
import { type Fleet, startFleet } from './testing/fleet.ts';

/** The guest is an address of this machine: what listens there is in the sandbox. The agent's front is the real one. */
const GUEST_IP = '127.0.77.1';
const ACCESS_TOKEN = 'access token of a test';
/** What the kernels' buffers of three hops take of a transfer that nobody reads; they grow while it runs. */
const KERNEL_BYTES = 40_000_000;

let fleet: Fleet;
let key: string;
let agentAddress: string;
let app: Server;
let port: number;
let serve: (request: IncomingMessage, response: ServerResponse) => void;

beforeAll(async () => {
  fleet = await startFleet();
  agentAddress = (await fleet.addHost({ guest: { ip: GUEST_IP, accessToken: ACCESS_TOKEN } })).agent.address;
  key = await fleet.newKey();
  app = createServer((request, response) => serve(request, response));
  app.listen(0, GUEST_IP);
  await once(app, 'listening');
  ({ port } = app.address() as AddressInfo);
});
afterAll(async () => {
  app?.closeAllConnections();
  app?.close();
  await fleet?.close();
});
beforeEach(() => {
  serve = (_, response) => response.end('hello');
});

async function create(body: object = {}): Promise<{ id: string; traffic_token: string }> {
  const answer = await call(fleet, 'POST', '/v1/sandboxes', { key, body });
  expect(answer.status, JSON.stringify(answer.body)).toBe(201);
  return answer.body;
}

interface Answer {
  status: number;
  headers: IncomingMessage['headers'];
  body: Buffer;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of all shapes
  json: any;
}

/** A request to a host name, on a connection of its own. */
function ask(
  host: string,
  path = '/',
  { method = 'GET', headers = {}, body }: { method?: string; headers?: object; body?: Buffer | string } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request(
      { host: '127.0.0.1', port: fleet.port, path, method, headers: { host, ...headers }, agent: false },
      async (response) => {
        const chunks: Buffer[] = [];
        try {
          for await (const chunk of response) chunks.push(chunk);
        } catch (error) {
          reject(error);
          return;
        }
        const bytes = Buffer.concat(chunks);
        const text = bytes.toString();
        const json = response.headers['content-type']?.includes('json') ? JSON.parse(text) : undefined;
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: bytes, text, json });
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

const hostOf = (id: string, at = port) => `${at}-${id}.localhost:${fleet.port}`;

describe('PX1: who may reach a port', () => {
  let id: string;
  let token: string;
  beforeAll(async () => {
    ({ id, traffic_token: token } = await create());
  });

  test('nobody without a credential; a user token is none', async () => {
    const answer = await ask(hostOf(id));
    expect(answer.status).toBe(401);
    expect(answer.json.error).toMatchObject({ code: 'unauthorized', details: { sandbox_id: id, port } });
    const session = await call(fleet, 'POST', '/v1/auth/signup', {
      body: { email: `jwt${process.pid}@example.com`, password: 'long enough' },
    });
    expect((await ask(hostOf(id), '/', { headers: { authorization: `Bearer ${session.body.token}` } })).status).toBe(
      401,
    );
  });

  test("the team's key, in both spellings, which the guest does not see", async () => {
    let seen: IncomingMessage['headers'] = {};
    serve = ({ headers }, response) => {
      seen = headers;
      response.end('in');
    };
    for (const spelling of [key, key.replace('wrn_', 'e2b_')]) {
      const answer = await ask(hostOf(id), '/', { headers: { 'x-api-key': spelling } });
      expect(answer.text).toBe('in');
      expect(seen['x-api-key']).toBeUndefined();
    }
    expect(seen['wrenn-authorization']).toBeUndefined();
    expect(seen['wrenn-incarnation']).toBeUndefined();
  });

  test("another team's key finds nothing, a wrong one opens nothing", async () => {
    expect((await ask(hostOf(id), '/', { headers: { 'x-api-key': await fleet.newKey() } })).status).toBe(404);
    expect((await ask(hostOf(id), '/', { headers: { 'x-api-key': `wrn_${'0'.repeat(32)}` } })).status).toBe(401);
  });

  test('the traffic token; a wrong one is 403', async () => {
    for (const name of ['wrenn-traffic-token', 'e2b-traffic-access-token']) {
      expect((await ask(hostOf(id), '/', { headers: { [name]: token } })).text).toBe('hello');
      expect((await ask(hostOf(id), '/', { headers: { [name]: `${token}x` } })).status).toBe(403);
    }
  });

  test('anyone on public ports, changed while it runs', async () => {
    const { id: open } = await create({ public_ports: [port] });
    expect((await ask(hostOf(open))).text).toBe('hello');
    await call(fleet, 'PATCH', `/v1/sandboxes/${open}`, { key, body: { public_ports: [] } });
    await expect.poll(async () => (await ask(hostOf(open))).status).toBe(401);
    await call(fleet, 'PATCH', `/v1/sandboxes/${open}`, { key, body: { public_ports: 'all' } });
    await expect.poll(async () => (await ask(hostOf(open))).status).toBe(200);
  });
});

describe('PX2: HTTP', () => {
  let id: string;
  beforeAll(async () => {
    ({ id } = await create({ public_ports: 'all' }));
  });

  test('method, path, query and fields arrive as they were sent', async () => {
    let seen: IncomingMessage | undefined;
    serve = (incoming, response) => {
      seen = incoming;
      response.writeHead(418, { 'x-b': ['1', '2'], 'set-cookie': ['a=1', 'b=2'], date: 'never' });
      response.end();
    };
    const answer = await ask(hostOf(id), '/a//b/../%2e/?q=1&q=%2F', {
      method: 'PATCH',
      headers: { 'x-a': ['1', '2'], cookie: 'theirs=1', 'content-length': '0', connection: 'x-hop', 'x-hop': '1' },
    });
    expect(seen).toMatchObject({ method: 'PATCH', url: '/a//b/../%2e/?q=1&q=%2F' });
    expect(seen?.headers).toMatchObject({
      host: hostOf(id),
      'x-a': '1, 2',
      cookie: 'theirs=1',
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-host': hostOf(id),
      'x-forwarded-proto': 'http',
    });
    expect(seen?.headers['x-hop']).toBeUndefined();
    expect(answer.status).toBe(418);
    expect(answer.headers).toMatchObject({ 'x-b': '1, 2', 'set-cookie': ['a=1', 'b=2'] });
    expect(answer.headers.date).toBe('never');
  });

  test('what a front proxy said of the client is kept', async () => {
    let seen: IncomingMessage['headers'] = {};
    serve = ({ headers }, response) => {
      seen = headers;
      response.end();
    };
    const given = { 'x-forwarded-for': '1.2.3.4', 'x-forwarded-proto': 'https', 'x-forwarded-host': 'a.example' };
    await ask(hostOf(id), '/', { headers: given });
    expect(seen).toMatchObject({ ...given, 'x-forwarded-for': '1.2.3.4, 127.0.0.1' });
  });

  test.each(['GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PROPFIND'])('%s', async (method) => {
    serve = (incoming, response) => response.end(incoming.method);
    expect((await ask(hostOf(id), '/v1/sandboxes', { method })).text).toBe(method);
  });

  test.each([
    ['HEAD', { method: 'HEAD' }, 200, '5'],
    ['204', { path: '/204' }, 204, undefined],
    ['304', { path: '/304' }, 304, undefined],
  ])('no body with %s', async (_name, { method, path }: { method?: string; path?: string }, status, length) => {
    serve = ({ url }, response) => {
      response.statusCode = url === '/204' ? 204 : url === '/304' ? 304 : 200;
      if (response.statusCode === 200) response.setHeader('content-length', 5);
      response.end(response.statusCode === 200 && method !== 'HEAD' ? 'hello' : undefined);
    };
    const answer = await ask(hostOf(id), path, method === undefined ? {} : { method });
    expect(answer).toMatchObject({ status, text: '' });
    expect(answer.headers['content-length']).toBe(length);
  });

  test.each([
    ['with a length', 1],
    ['with a length', 5_000_000],
    ['in chunks', 1],
    ['in chunks', 5_000_000],
  ])('echoes a body %s of %i bytes both ways', async (how, size) => {
    serve = (incoming, response) => {
      const length = incoming.headers['content-length'];
      if (length !== undefined) response.setHeader('content-length', length);
      incoming.pipe(response);
    };
    const body = randomBytes(size);
    const headers = how === 'in chunks' ? { 'transfer-encoding': 'chunked' } : { 'content-length': String(size) };
    const answer = await ask(hostOf(id), '/', { method: 'POST', headers, body });
    expect(answer.headers['content-length']).toBe(how === 'in chunks' ? undefined : String(size));
    expect(createHash('sha256').update(answer.body).digest('hex')).toBe(
      createHash('sha256').update(body).digest('hex'),
    );
  });

  test('requests one after the other use one connection to the guest', async () => {
    const ports = new Set<number | undefined>();
    serve = ({ socket }, response) => {
      ports.add(socket.remotePort);
      response.end();
    };
    for (let i = 0; i < 5; i += 1) await ask(hostOf(id));
    expect(ports.size).toBe(1);
  });

  test('an event is passed on when it comes, not when the answer ends', async () => {
    let next: () => void = () => undefined;
    serve = (_, response) => {
      response.setHeader('content-type', 'text/event-stream');
      response.write('data: 1\n\n');
      next = () => response.end('data: 2\n\n');
    };
    const sent = request({ host: '127.0.0.1', port: fleet.port, headers: { host: hostOf(id) }, agent: false });
    sent.end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    const events: string[] = [];
    for await (const chunk of response) {
      events.push(String(chunk));
      if (events.length === 1) next();
    }
    expect(events).toEqual(['data: 1\n\n', 'data: 2\n\n']);
  });

  test('a guest that answers before it has read the whole upload is heard', async () => {
    serve = (incoming, response) => {
      response.writeHead(413, { 'content-length': 3, connection: 'close' });
      response.end('big');
      incoming.destroy();
    };
    const answer = await ask(hostOf(id), '/', { method: 'POST', body: randomBytes(8_000_000) }).catch(
      (error: Error & { code?: string }) => error.code,
    );
    // Node's client may meet the closed connection while it still sends.
    expect(['EPIPE', 'ECONNRESET']).toContain(typeof answer === 'string' ? answer : 'EPIPE');
    // The guest's reset may overtake its answer.
    if (typeof answer === 'object') expect([413, 502]).toContain(answer?.status);
    serve = (_, response) => response.end('next');
    expect((await ask(hostOf(id))).text).toBe('next');
  });

  test('a slow reader holds up the guest, not our memory', async () => {
    const total = 160_000_000;
    let written = 0;
    serve = (_, response) => {
      response.setHeader('content-length', total);
      const block = Buffer.alloc(1_000_000);
      const pump = () => {
        while (written < total) {
          written += block.length;
          if (!response.write(block)) {
            response.once('drain', pump);
            return;
          }
        }
        response.end();
      };
      pump();
    };
    const sent = request({ host: '127.0.0.1', port: fleet.port, headers: { host: hostOf(id) }, agent: false });
    sent.end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    response.pause();
    let before = -1;
    while (before !== written) {
      before = written;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    expect(written).toBeLessThan(KERNEL_BYTES);
    let received = 0;
    for await (const chunk of response) received += chunk.length;
    expect(received).toBe(total);
  });

  test('a slow guest holds up the upload', async () => {
    let taken = 0;
    let release: () => void = () => undefined;
    serve = (incoming, response) => {
      release = () => {
        incoming.on('data', (chunk: Buffer) => {
          taken += chunk.length;
        });
        incoming.on('end', () => response.end(String(taken)));
      };
    };
    const total = 160_000_000;
    const sent = request({
      host: '127.0.0.1',
      port: fleet.port,
      method: 'POST',
      headers: { host: hostOf(id), 'content-length': total },
      agent: false,
    });
    let written = 0;
    const block = Buffer.alloc(1_000_000);
    const pump = () => {
      while (written < total) {
        written += block.length;
        if (!sent.write(block)) {
          sent.once('drain', pump);
          return;
        }
      }
      sent.end();
    };
    pump();
    let before = -1;
    while (before !== written) {
      before = written;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    expect(written).toBeLessThan(KERNEL_BYTES);
    release();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    const [text] = await once(response, 'data');
    expect(String(text)).toBe(String(total));
  });

  test('a client that leaves in mid-answer closes the guest’s connection', async () => {
    let closed: Promise<unknown> = Promise.resolve();
    serve = (_, response) => {
      closed = once(response, 'close');
      response.write('first');
    };
    const sent = request({ host: '127.0.0.1', port: fleet.port, headers: { host: hostOf(id) }, agent: false });
    sent.on('error', () => undefined);
    sent.end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    response.on('error', () => undefined);
    await once(response, 'data');
    sent.destroy();
    await closed;
  });

  test.each(['with a length', 'in chunks'])(
    'a guest that dies in mid-answer (%s) is not taken for a whole one',
    async (how) => {
      serve = ({ socket }, response) => {
        if (how === 'with a length') response.setHeader('content-length', 10);
        response.write('half.');
        setImmediate(() => socket.destroy());
      };
      await expect(ask(hostOf(id))).rejects.toThrow();
      serve = (_, response) => response.end('next');
      expect((await ask(hostOf(id))).text).toBe('next');
    },
  );

  test('any other upgrade is refused in words', async () => {
    const answer = await ask(hostOf(id), '/', { headers: { connection: 'Upgrade', upgrade: 'chat/1' } });
    expect(answer).toMatchObject({ status: 501 });
    expect(answer.json.error.message).toContain('chat/1');
  });
});

describe('PX3: failures name the state', () => {
  test('a closed port is 502; a browser gets a page', async () => {
    const { id } = await create({ public_ports: 'all' });
    const closed = await ask(hostOf(id, 9));
    expect(closed).toMatchObject({ status: 502 });
    expect(closed.json.error).toMatchObject({ code: 'guest_error', details: { state: 'running', port: 9 } });
    const page = await ask(hostOf(id, 9), '/', { headers: { accept: 'text/html,*/*' } });
    expect(page.headers['content-type']).toContain('text/html');
    expect(page.text).toContain('nothing answers on port 9');
  });

  test.each([
    ['0-sb0f3k9v2m7q1x8w5z4c6t', 400],
    ['65536-sb0f3k9v2m7q1x8w5z4c6t', 400],
    ['3000-nonsense', 400],
    ['3000-sb0f3k9v2m7q1x8w5z4c6t', 404],
  ])('%s is %i', async (label, status) => {
    expect((await ask(`${label}.localhost`)).status).toBe(status);
  });

  test('after a destroy it is never there again, not even for a moment', async () => {
    const { id } = await create({ public_ports: 'all' });
    expect((await ask(hostOf(id))).status).toBe(200);
    expect((await call(fleet, 'DELETE', `/v1/sandboxes/${id}`, { key })).status).toBe(204);
    const answer = await ask(hostOf(id));
    expect(answer.status).toBe(404);
  });

  test('a host that is away is 503', async () => {
    const { id } = await create({ public_ports: 'all' });
    const { services } = fleet;
    await services.sql.query(`update hosts set address = '127.0.0.1:1'`);
    const { rows } = await services.sql.query<{ id: string }>('select id from hosts');
    await services.agents.refresh(rows[0]?.id ?? '');
    const answer = await ask(hostOf(id));
    expect(answer).toMatchObject({ status: 503 });
    expect(answer.json.error).toMatchObject({ code: 'host_unreachable', details: { state: 'missing' } });
    await services.sql.query('update hosts set address = $1', [agentAddress]);
    await services.agents.refresh(rows[0]?.id ?? '');
    expect((await ask(hostOf(id))).status).toBe(200);
  });

  test('X1: the guest sees the host name that its sandbox was made with', async () => {
    const made = await call(fleet, 'POST', '/v2/sandboxes', {
      key,
      // biome-ignore lint/suspicious/noTemplateCurlyInString: that is how the client writes the port
      body: { templateID: 'base', network: { maskRequestHost: 'custom.example.com:${PORT}' } },
    });
    expect(made.status, JSON.stringify(made.body)).toBe(201);
    let seen: IncomingMessage['headers'] = {};
    serve = ({ headers }, response) => {
      seen = headers;
      response.end();
    };
    const host = hostOf(made.body.sandboxID);
    expect((await ask(host)).status).toBe(200);
    expect(seen).toMatchObject({ host: `custom.example.com:${port}`, 'x-forwarded-host': host });
  });

  test('E2B errors where its headers route', async () => {
    const { id } = await create({ public_ports: 'all' });
    const route = (sandboxId: string, at: number) => ({
      'e2b-sandbox-id': sandboxId,
      'e2b-sandbox-port': String(at),
    });
    expect((await ask('127.0.0.1', '/', { headers: route(id, port) })).text).toBe('hello');
    const closed = await ask('localhost', '/', { headers: route(id, 9) });
    expect(closed).toMatchObject({ status: 502 });
    expect(closed.json).toEqual({
      sandboxId: id,
      message: 'The sandbox is running but port is not open',
      port: 9,
      code: 502,
    });
    const unknown = 'sb0f3k9v2m7q1x8w5z4c6t';
    const gone = await ask('localhost', '/health', { headers: route(unknown, 49_983) });
    expect(gone.json).toEqual({ sandboxId: unknown, message: 'The sandbox was not found', code: 502 });
  });
});
