import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { request } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import WebSocket, { WebSocketServer } from 'ws';
import { freePort } from '../../scripts/lib/free-port.ts';
import { call } from './gateway.ts';
import { type Fleet, startFleet } from './testing/fleet.ts';

const GUEST_IP = '127.0.77.5';
const DOMAIN = 'wrenn.test';

const dir = mkdtempSync(join(tmpdir(), 'wrenn-tls-'));
const files = { cert: join(dir, 'certificate.pem'), key: join(dir, 'key.pem') };
let fleet: Fleet;
let host: string;
const app = createServer((incoming, response) => {
  response.setHeader('x-proto', String(incoming.headers['x-forwarded-proto']));
  incoming.pipe(response);
});

/** A self-signed certificate of this name, in these files. */
function certify(name: string, cert = files.cert, key = files.key): void {
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1'],
      ...[
        '-subj',
        `/CN=${name}`,
        '-addext',
        `subjectAltName=DNS:${DOMAIN},DNS:*.${DOMAIN}`,
        '-keyout',
        key,
        '-out',
        cert,
      ],
    ],
    { stdio: 'ignore' },
  );
}

beforeAll(async () => {
  certify('first');
  fleet = await startFleet({
    WRENN_DOMAIN: DOMAIN,
    WRENN_TLS_LISTEN: `127.0.0.1:${await freePort()}`,
    WRENN_TLS_CERT: files.cert,
    WRENN_TLS_KEY: files.key,
  });
  await fleet.addHost({ guest: { ip: GUEST_IP, accessToken: 'a token' } });
  new WebSocketServer({ server: app }).on('connection', (socket) => socket.on('message', (data) => socket.send(data)));
  app.listen(0, GUEST_IP);
  await once(app, 'listening');
  const { port } = app.address() as AddressInfo;
  const { body } = await call(fleet, 'POST', '/v1/sandboxes', {
    key: await fleet.newKey(),
    body: { public_ports: 'all' },
  });
  host = `${port}-${body.id}.${DOMAIN}`;
});
afterAll(async () => {
  app.closeAllConnections();
  app.close();
  await fleet?.close();
  rmSync(dir, { recursive: true });
});

/** Whether something speaks TLS there. */
function answers(at: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connectTls({ port: at, host: '127.0.0.1', rejectUnauthorized: false }, () => {
      resolve(true);
      socket.destroy();
    });
    socket.on('error', () => resolve(false));
  });
}

/** Name of the certificate that is served now. */
async function served(): Promise<string> {
  const socket = connectTls({ port: fleet.tlsPort, host: '127.0.0.1', servername: host, rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  const name = socket.getPeerCertificate().subject.CN as string;
  socket.destroy();
  return name;
}

describe('PX5: TLS by the gateway', () => {
  test('sandboxes and the API are served by it, and the guest learns that it was https', async () => {
    const sent = request({
      host: '127.0.0.1',
      port: fleet.tlsPort,
      servername: host,
      ca: readFileSync(files.cert),
      headers: { host },
      method: 'POST',
      agent: false,
    });
    sent.end('hello');
    const [response] = await once(sent, 'response');
    expect(response.headers['x-proto']).toBe('https');
    let text = '';
    for await (const chunk of response) text += chunk;
    expect(text).toBe('hello');
  });

  test('WebSockets too', async () => {
    const socket = new WebSocket(`wss://127.0.0.1:${fleet.tlsPort}/`, {
      rejectUnauthorized: false,
      headers: { host },
    });
    await once(socket, 'open');
    socket.send('hello');
    expect(String((await once(socket, 'message'))[0])).toBe('hello');
    socket.close();
  });

  test('new files are served without a restart; files that do not fit change nothing; what is open goes on', async () => {
    expect(await served()).toBe('first');
    const open = new WebSocket(`wss://127.0.0.1:${fleet.tlsPort}/`, { rejectUnauthorized: false, headers: { host } });
    await once(open, 'open');

    certify('second', join(dir, 'new.pem'), join(dir, 'new.key'));
    renameSync(join(dir, 'new.key'), files.key);
    renameSync(join(dir, 'new.pem'), files.cert);
    await expect.poll(served, { timeout: 10_000 }).toBe('second');

    writeFileSync(files.cert, 'no certificate');
    certify('third', join(dir, 'other.pem'), join(dir, 'other.key'));
    renameSync(join(dir, 'other.key'), files.key);
    expect(await served()).toBe('second');
    renameSync(join(dir, 'other.pem'), files.cert);
    await expect.poll(served, { timeout: 10_000 }).toBe('third');

    open.send('still here');
    expect(String((await once(open, 'message'))[0])).toBe('still here');
    open.close();
  });
});

const NGINX = ['/usr/sbin/nginx', '/usr/bin/nginx'].find((path) => spawnSync(path, ['-v']).status === 0);
if (NGINX === undefined) console.log('PX5: skipped behind nginx, which is not installed here');

describe.runIf(NGINX !== undefined)('PX5: behind nginx, as docs/samples/nginx.conf has it', () => {
  let port: number;
  let nginx: ReturnType<typeof spawn>;

  beforeAll(async () => {
    certify('front');
    port = await freePort();
    const sample = readFileSync(join(import.meta.dirname, '../../docs/samples/nginx.conf'), 'utf8')
      .replaceAll('wrenn.example', DOMAIN)
      .replace('listen 443', `listen 127.0.0.1:${port}`)
      .replace('127.0.0.1:8080', `127.0.0.1:${fleet.port}`)
      .replaceAll('/etc/wrenn', dir);
    const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
      (name) => `${name}_temp_path ${dir}/${name};`,
    );
    const main = ['daemon off;', 'master_process off;', `pid ${dir}/nginx.pid;`, 'events {}'];
    writeFileSync(join(dir, 'nginx.conf'), [...main, 'http {', 'access_log off;', ...paths, sample, '}'].join('\n'));
    nginx = spawn(NGINX as string, ['-p', dir, '-c', join(dir, 'nginx.conf'), '-e', join(dir, 'error.log')], {
      stdio: 'ignore',
    });
    while (!(await answers(port))) {
      if (nginx.exitCode !== null) throw new Error(readFileSync(join(dir, 'error.log'), 'utf8'));
    }
  });
  afterAll(async () => {
    if (nginx === undefined || nginx.exitCode !== null) return;
    nginx.kill();
    await once(nginx, 'exit');
  });

  test('HTTP/2 requests with bodies reach the guest and come back', async () => {
    const session = connectHttp2(`https://127.0.0.1:${port}`, { servername: host, rejectUnauthorized: false });
    const echo = async (size: number) => {
      const stream = session.request({ ':method': 'POST', ':path': '/', ':authority': host });
      stream.end(Buffer.alloc(size, 7));
      const [headers] = await once(stream, 'response');
      expect(headers).toMatchObject({ ':status': 200, 'x-proto': 'https' });
      let length = 0;
      for await (const chunk of stream) length += chunk.length;
      return length;
    };
    expect(await Promise.all([echo(1), echo(3_000_000), echo(0)])).toEqual([1, 3_000_000, 0]);
    session.close();
  });

  test('WebSockets pass', async () => {
    const socket = new WebSocket(`wss://127.0.0.1:${port}/`, { rejectUnauthorized: false, headers: { host } });
    await once(socket, 'open');
    socket.send('hello');
    expect(String((await once(socket, 'message'))[0])).toBe('hello');
    socket.close();
  });

  test('the API answers behind it as well', async () => {
    const sent = request({
      host: '127.0.0.1',
      port,
      path: '/health',
      rejectUnauthorized: false,
      headers: { host: DOMAIN },
      agent: false,
    });
    sent.end();
    const [response] = await once(sent, 'response');
    response.resume();
    expect(response.statusCode).toBe(200);
  });
});
