import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { call } from './gateway.ts';
import { GuestSite } from './testing/guest-site.ts';

/** What the kernels' buffers of three hops take of a transfer that nobody reads; they grow while it runs. */
const KERNEL_BYTES = 40_000_000;

let site: GuestSite;
beforeAll(async () => {
  site = await GuestSite.start('127.0.77.1');
});
afterAll(() => site?.close());
beforeEach(() => site.sayHello());

describe('PX1: who may reach a port', () => {
  let id: string;
  let token: string;
  beforeAll(async () => {
    ({ id, traffic_token: token } = await site.create());
  });

  test('nobody without a credential; a user token is none', async () => {
    const answer = await site.ask(site.hostOf(id));
    expect(answer.status).toBe(401);
    expect(answer.json.error).toMatchObject({ code: 'unauthorized', details: { sandbox_id: id, port: site.port } });
    const session = await call(site.fleet, 'POST', '/v1/auth/signup', {
      body: { email: `jwt${process.pid}@example.com`, password: 'long enough' },
    });
    expect(
      (await site.ask(site.hostOf(id), '/', { headers: { authorization: `Bearer ${session.body.token}` } })).status,
    ).toBe(401);
  });

  test("the team's key, in both spellings, which the guest does not see", async () => {
    let seen: IncomingMessage['headers'] = {};
    site.serve = ({ headers }, response) => {
      seen = headers;
      response.end('in');
    };
    for (const spelling of [site.key, site.key.replace('wrn_', 'e2b_')]) {
      const answer = await site.ask(site.hostOf(id), '/', { headers: { 'x-api-key': spelling } });
      expect(answer.text).toBe('in');
      expect(seen['x-api-key']).toBeUndefined();
    }
    expect(seen['wrenn-authorization']).toBeUndefined();
    expect(seen['wrenn-incarnation']).toBeUndefined();
  });

  test("another team's key finds nothing, a wrong one opens nothing", async () => {
    expect((await site.ask(site.hostOf(id), '/', { headers: { 'x-api-key': await site.fleet.newKey() } })).status).toBe(
      404,
    );
    expect((await site.ask(site.hostOf(id), '/', { headers: { 'x-api-key': `wrn_${'0'.repeat(32)}` } })).status).toBe(
      401,
    );
  });

  test('the traffic token; a wrong one is 403', async () => {
    for (const name of ['wrenn-traffic-token', 'e2b-traffic-access-token']) {
      expect((await site.ask(site.hostOf(id), '/', { headers: { [name]: token } })).text).toBe('hello');
      expect((await site.ask(site.hostOf(id), '/', { headers: { [name]: `${token}x` } })).status).toBe(403);
    }
  });

  test('anyone on public ports, changed while it runs', async () => {
    const { id: open } = await site.create({ public_ports: [site.port] });
    expect((await site.ask(site.hostOf(open))).text).toBe('hello');
    await call(site.fleet, 'PATCH', `/v1/sandboxes/${open}`, { key: site.key, body: { public_ports: [] } });
    await expect.poll(async () => (await site.ask(site.hostOf(open))).status).toBe(401);
    await call(site.fleet, 'PATCH', `/v1/sandboxes/${open}`, { key: site.key, body: { public_ports: 'all' } });
    await expect.poll(async () => (await site.ask(site.hostOf(open))).status).toBe(200);
  });
});

describe('PX2: HTTP', () => {
  let id: string;
  beforeAll(async () => {
    ({ id } = await site.create({ public_ports: 'all' }));
  });

  test('method, path, query and fields arrive as they were sent', async () => {
    let seen: IncomingMessage | undefined;
    site.serve = (incoming, response) => {
      seen = incoming;
      response.writeHead(418, { 'x-b': ['1', '2'], 'set-cookie': ['a=1', 'b=2'], date: 'never' });
      response.end();
    };
    const answer = await site.ask(site.hostOf(id), '/a//b/../%2e/?q=1&q=%2F', {
      method: 'PATCH',
      headers: { 'x-a': ['1', '2'], cookie: 'theirs=1', 'content-length': '0', connection: 'x-hop', 'x-hop': '1' },
    });
    expect(seen).toMatchObject({ method: 'PATCH', url: '/a//b/../%2e/?q=1&q=%2F' });
    expect(seen?.headers).toMatchObject({
      host: site.hostOf(id),
      'x-a': '1, 2',
      cookie: 'theirs=1',
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-host': site.hostOf(id),
      'x-forwarded-proto': 'http',
    });
    expect(seen?.headers['x-hop']).toBeUndefined();
    expect(answer.status).toBe(418);
    expect(answer.headers).toMatchObject({ 'x-b': '1, 2', 'set-cookie': ['a=1', 'b=2'] });
    expect(answer.headers.date).toBe('never');
  });

  test('what a front proxy said of the client is kept', async () => {
    let seen: IncomingMessage['headers'] = {};
    site.serve = ({ headers }, response) => {
      seen = headers;
      response.end();
    };
    const given = { 'x-forwarded-for': '1.2.3.4', 'x-forwarded-proto': 'https', 'x-forwarded-host': 'a.example' };
    await site.ask(site.hostOf(id), '/', { headers: given });
    expect(seen).toMatchObject({ ...given, 'x-forwarded-for': '1.2.3.4, 127.0.0.1' });
  });

  test.each(['GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PROPFIND'])('%s', async (method) => {
    site.serve = (incoming, response) => response.end(incoming.method);
    expect((await site.ask(site.hostOf(id), '/v1/sandboxes', { method })).text).toBe(method);
  });

  test.each([
    ['HEAD', { method: 'HEAD' }, 200, '5'],
    ['204', { path: '/204' }, 204, undefined],
    ['304', { path: '/304' }, 304, undefined],
  ])('no body with %s', async (_name, { method, path }: { method?: string; path?: string }, status, length) => {
    site.serve = ({ url }, response) => {
      response.statusCode = url === '/204' ? 204 : url === '/304' ? 304 : 200;
      if (response.statusCode === 200) response.setHeader('content-length', 5);
      response.end(response.statusCode === 200 && method !== 'HEAD' ? 'hello' : undefined);
    };
    const answer = await site.ask(site.hostOf(id), path, method === undefined ? {} : { method });
    expect(answer).toMatchObject({ status, text: '' });
    expect(answer.headers['content-length']).toBe(length);
  });

  test.each([
    ['with a length', 1],
    ['with a length', 5_000_000],
    ['in chunks', 1],
    ['in chunks', 5_000_000],
  ])('echoes a body %s of %i bytes both ways', async (how, size) => {
    site.serve = (incoming, response) => {
      const length = incoming.headers['content-length'];
      if (length !== undefined) response.setHeader('content-length', length);
      incoming.pipe(response);
    };
    const body = randomBytes(size);
    const headers = how === 'in chunks' ? { 'transfer-encoding': 'chunked' } : { 'content-length': String(size) };
    const answer = await site.ask(site.hostOf(id), '/', { method: 'POST', headers, body });
    expect(answer.headers['content-length']).toBe(how === 'in chunks' ? undefined : String(size));
    expect(createHash('sha256').update(answer.body).digest('hex')).toBe(
      createHash('sha256').update(body).digest('hex'),
    );
  });

  test('requests one after the other use one connection to the guest', async () => {
    const ports = new Set<number | undefined>();
    site.serve = ({ socket }, response) => {
      ports.add(socket.remotePort);
      response.end();
    };
    for (let i = 0; i < 5; i += 1) await site.ask(site.hostOf(id));
    expect(ports.size).toBe(1);
  });

  test('an event is passed on when it comes, not when the answer ends', async () => {
    let next: () => void = () => undefined;
    site.serve = (_, response) => {
      response.setHeader('content-type', 'text/event-stream');
      response.write('data: 1\n\n');
      next = () => response.end('data: 2\n\n');
    };
    const sent = request({
      host: '127.0.0.1',
      port: site.fleet.port,
      headers: { host: site.hostOf(id) },
      agent: false,
    });
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
    site.serve = (incoming, response) => {
      response.writeHead(413, { 'content-length': 3, connection: 'close' });
      response.end('big');
      incoming.destroy();
    };
    const answer = await site
      .ask(site.hostOf(id), '/', { method: 'POST', body: randomBytes(8_000_000) })
      .catch((error: Error & { code?: string }) => error.code);
    // Node's client may meet the closed connection while it still sends.
    expect(['EPIPE', 'ECONNRESET']).toContain(typeof answer === 'string' ? answer : 'EPIPE');
    // The guest's reset may overtake its answer.
    if (typeof answer === 'object') expect([413, 502]).toContain(answer?.status);
    site.serve = (_, response) => response.end('next');
    expect((await site.ask(site.hostOf(id))).text).toBe('next');
  });

  test('a slow reader holds up the guest, not our memory', async () => {
    const total = 160_000_000;
    let written = 0;
    site.serve = (_, response) => {
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
    const sent = request({
      host: '127.0.0.1',
      port: site.fleet.port,
      headers: { host: site.hostOf(id) },
      agent: false,
    });
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
    site.serve = (incoming, response) => {
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
      port: site.fleet.port,
      method: 'POST',
      headers: { host: site.hostOf(id), 'content-length': total },
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
    site.serve = (_, response) => {
      closed = once(response, 'close');
      response.write('first');
    };
    const sent = request({
      host: '127.0.0.1',
      port: site.fleet.port,
      headers: { host: site.hostOf(id) },
      agent: false,
    });
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
      site.serve = ({ socket }, response) => {
        if (how === 'with a length') response.setHeader('content-length', 10);
        response.write('half.');
        setImmediate(() => socket.destroy());
      };
      await expect(site.ask(site.hostOf(id))).rejects.toThrow();
      site.serve = (_, response) => response.end('next');
      expect((await site.ask(site.hostOf(id))).text).toBe('next');
    },
  );

  test('any other upgrade is refused in words', async () => {
    const answer = await site.ask(site.hostOf(id), '/', { headers: { connection: 'Upgrade', upgrade: 'chat/1' } });
    expect(answer).toMatchObject({ status: 501 });
    expect(answer.json.error.message).toContain('chat/1');
  });
});
