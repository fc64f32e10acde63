import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createServer, type Server } from '../src/http/server.ts';
import { authorise } from '../src/identity/authorise.ts';
import { call, startGateway, type TestGateway } from './gateway.ts';
import { rawConnect, rawRequest } from './raw-http.ts';
import { probe, probeRoutes } from './testing/probe-routes.ts';

const MIB = 1_048_576;

let gateway: TestGateway;
let server: Server;
let port: number;
let url: string;

beforeAll(async () => {
  gateway = await startGateway();
  server = createServer(probeRoutes, authorise, gateway.services);
  port = await server.listen('127.0.0.1', 0);
  url = `http://127.0.0.1:${port}`;
});
afterAll(async () => {
  await server.stop(100);
  await gateway.close();
});

const head = (method: string, path: string, headers: string[], body = '') =>
  `${method} ${path} HTTP/1.1\r\nhost: localhost\r\n${headers.map((line) => `${line}\r\n`).join('')}\r\n${body}`;
const json = (path: string, body: string | Buffer, type = 'application/json') =>
  fetch(url + path, { method: 'POST', headers: { 'content-type': type }, body });

describe('requests', () => {
  test('every error has one shape, and an id', async () => {
    const unknown = await call({ url }, 'GET', '/nowhere');
    expect(unknown.status).toBe(404);
    expect(unknown.body).toEqual({ error: { code: 'not_found', message: expect.any(String), details: {} } });
    expect(unknown.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
    const method = await call({ url }, 'PUT', '/echo/a');
    expect(method.status).toBe(405);
    expect(method.headers.get('allow')).toBe('POST, DELETE');
    expect(method.body.error.code).toBe('method_not_allowed');
  });

  test('a failure nobody foresaw tells nothing', async () => {
    const answer = await call({ url }, 'GET', '/throws');
    expect(answer.status).toBe(500);
    expect(JSON.stringify(answer.body)).not.toContain('secret');
  });

  test("the caller's request id is kept when it is harmless", async () => {
    const kept = await call({ url }, 'GET', '/nowhere', { headers: { 'x-request-id': 'abc-1.2_3' } });
    expect(kept.headers.get('x-request-id')).toBe('abc-1.2_3');
    const replaced = await call({ url }, 'GET', '/nowhere', { headers: { 'x-request-id': 'a b' } });
    expect(replaced.headers.get('x-request-id')).not.toBe('a b');
  });

  test.each([
    ['{"text":"a","more":1}', 400, 'more'],
    ['{"text":"a","nested":{"n":1,"deep":2}}', 400, 'nested.deep'],
    ['{"text":7}', 400, 'text'],
    ['{"text":', 400, 'JSON'],
    ['', 400, 'JSON'],
    ['[]', 400, ''],
    ['null', 400, ''],
    ['{"text":"\\ud800"}', 400, 'surrogate'],
  ])('a bad body is 400 and says where: %s', async (body, status, word) => {
    const response = await json('/echo/a', body);
    expect(response.status).toBe(status);
    const { error } = (await response.json()) as { error: { code: string; message: string } };
    expect(error.code).toBe('bad_request');
    expect(error.message).toContain(word);
  });

  test('invalid UTF-8 is 400', async () => {
    const response = await json('/echo/a', Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d]));
    expect(response.status).toBe(400);
    expect(((await response.json()) as { error: { message: string } }).error.message).toContain('UTF-8');
  });

  test('another content type is 415', async () => {
    expect((await json('/echo/a', '{"text":"a"}', 'text/plain')).status).toBe(415);
    expect((await json('/echo/a', '{"text":"a"}', 'application/json; charset=latin1')).status).toBe(415);
    expect((await json('/echo/a', '{"text":"a"}', 'application/json; charset=UTF-8')).status).toBe(200);
    expect((await json('/upload', 'x', 'text/plain')).status).toBe(415);
  });

  test('JSON beyond 1 MiB is 413, declared or not, and the connection stays usable', async () => {
    const big = JSON.stringify({ text: 'x'.repeat(2 * MIB) });
    expect((await json('/echo/a', big)).status).toBe(413);
    const chunked = await fetch(`${url}/echo/a`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: new Blob([big]).stream(),
      duplex: 'half',
    } as RequestInit);
    expect(chunked.status).toBe(413);
    const pipelined = await rawRequest(
      port,
      head('POST', '/echo/a', ['content-type: application/json', `content-length: ${big.length}`], big) +
        head('DELETE', '/echo/a', []),
      (text) => text.includes(' 204 '),
    );
    expect(pipelined).toMatch(/^HTTP\/1\.1 413 /);
    expect(pipelined).toContain('HTTP/1.1 204 No Content');
  });

  test('parameters are decoded; a broken escape or a NUL is 400', async () => {
    const fine = await json('/echo/a%2Fb%20c', '{"text":"a"}');
    expect(((await fine.json()) as { name: string }).name).toBe('a/b c');
    for (const name of ['%zz', '%ff', '%00']) expect((await json(`/echo/${name}`, '{"text":"a"}')).status).toBe(400);
  });

  test('a body where none belongs is 400, an empty object is none', async () => {
    const del = (body?: string) =>
      fetch(`${url}/echo/a`, {
        method: 'DELETE',
        ...(body !== undefined && { body, headers: { 'content-type': 'application/json' } }),
      });
    expect((await del()).status).toBe(204);
    expect((await del('{}')).status).toBe(204);
    expect((await del('{"force":true}')).status).toBe(400);
  });

  test('HEAD answers as GET without the body', async () => {
    const response = await fetch(`${gateway.url}/health`, { method: 'HEAD' });
    expect(response.status).toBe(200);
    expect(await response.text()).toBe('');
  });

  test('a browser of another origin may ask', async () => {
    const response = await fetch(`${url}/echo/a`, { method: 'OPTIONS' });
    expect(response.status).toBe(204);
    expect(response.headers.get('access-control-allow-origin')).toBe('*');
    expect(response.headers.get('access-control-allow-credentials')).toBeNull();
  });

  test('a handler that works longer than the idle limits still answers', async () => {
    const answer = await call({ url }, 'GET', '/waits?ms=13000');
    expect(answer.body).toEqual({ waited: 13_000 });
  });
});

describe('headers that are read differently by different servers', () => {
  test.each([
    ['two keys', ['x-api-key: a', 'x-api-key: b']],
    ['two tokens', ['authorization: Bearer a', 'authorization: Bearer b']],
    ['two hosts', ['host: elsewhere']],
    ['two lengths', ['content-length: 0', 'content-length: 5']],
    ['length and chunks', ['content-length: 5', 'transfer-encoding: chunked']],
    ['a space before the colon', ['x-api-key : a']],
    ['a bare line feed', ['x-a: b\nx-api-key: a']],
  ])('%s: refused', async (_, headers) => {
    const text = await rawRequest(port, head('DELETE', '/echo/a', headers), (answer) => answer.includes('\r\n\r\n'));
    expect(text).toMatch(/^(HTTP\/1\.1 400 .*)?/);
    expect(text).not.toMatch(/^HTTP\/1\.1 2/);
  });

  test('16 KiB of headers are taken, more is refused', async () => {
    const fine = head('DELETE', '/echo/a', [`x-long: ${'a'.repeat(12_000)}`]);
    expect(await rawRequest(port, fine, (text) => text.includes('\r\n\r\n'))).toMatch(/^HTTP\/1\.1 204/);
    const over = head('DELETE', '/echo/a', [`x-long: ${'a'.repeat(40_000)}`]);
    expect(await rawRequest(port, over)).not.toMatch(/^HTTP\/1\.1 2/);
  });
});

describe('streams', () => {
  test('an upload larger than any buffer arrives whole; beyond the limit it is 413', async () => {
    const body = Buffer.alloc(20 * MIB, 'u');
    const fine = await json('/upload', body, 'application/octet-stream');
    expect(await fine.json()).toEqual({ bytes: body.length });
    const over = await fetch(`${url}/upload`, {
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream' },
      body: new Blob([Buffer.alloc(33 * MIB)]).stream(),
      duplex: 'half',
    } as RequestInit);
    expect(over.status).toBe(413);
  });

  test('a slow reader of an upload slows the client down, then all of it comes', async () => {
    const socket = await rawConnect(port);
    const total = 64 * MIB;
    socket.write(head('POST', '/slow-upload', [`content-length: ${total}`]));
    const chunk = Buffer.alloc(MIB);
    let written = 0;
    while (written < total && socket.write(chunk)) written += chunk.length;
    const answer = once(socket, 'data');
    await delay(500);
    const accepted = socket.bytesWritten - socket.writableLength;
    expect(accepted).toBeLessThan(16 * MIB); // the rest waits in the client
    probe.letUploadRead();
    for (written += chunk.length; written < total; written += chunk.length) {
      if (!socket.write(chunk)) await once(socket, 'drain');
    }
    expect(String((await answer)[0])).toContain(`{"bytes":${total}}`);
    socket.destroy();
  });

  test('a client that goes in mid upload aborts the handler', async () => {
    const before = probe.aborted;
    const socket = await rawConnect(port);
    socket.write(head('POST', '/slow-upload', ['content-length: 1000000'], 'some of it'));
    await delay(100);
    socket.destroy();
    await expect.poll(() => probe.aborted).toBe(before + 1);
    probe.letUploadRead();
  });

  test('a download of known and unknown length is whole', async () => {
    for (const query of ['chunks=200', `chunks=200&length=${200 * 65_536}`]) {
      const response = await fetch(`${url}/download?${query}`);
      expect((await response.arrayBuffer()).byteLength).toBe(200 * 65_536);
    }
  });

  test('a reader that stalls stops the source; when it goes the source is closed', async () => {
    for (const query of ['chunks=100000', `chunks=100000&length=${100_000 * 65_536}`]) {
      probe.pulled = 0;
      const closed = probe.closed;
      const socket = await rawConnect(port);
      socket.pause();
      socket.write(head('GET', `/download?${query}`, []));
      await delay(400);
      const pulled = probe.pulled;
      expect(pulled).toBeGreaterThan(0);
      expect(pulled).toBeLessThan(500);
      await delay(200);
      expect(probe.pulled).toBe(pulled);
      socket.destroy();
      await expect.poll(() => probe.closed).toBe(closed + 1);
    }
  });

  test('a source that breaks or ends short is never taken for whole', async () => {
    const breaks = await fetch(`${url}/breaks`);
    await expect(breaks.arrayBuffer()).rejects.toThrow();
    const short = await fetch(`${url}/download?chunks=1&length=100000`);
    await expect(short.arrayBuffer()).rejects.toThrow();
  });

  test('parts of a multipart body come as they are, and broken ones are 400', async () => {
    const form = new FormData();
    form.append('path', '/tmp/ü');
    form.append('file', new Blob([Buffer.alloc(5 * MIB)]), 'deep/name.bin');
    form.append('empty', new Blob([]), 'empty');
    const fine = await fetch(`${url}/parts`, { method: 'POST', body: form });
    expect(await fine.json()).toEqual({
      parts: [
        { name: 'path', bytes: 7 },
        { name: 'file', filename: 'deep/name.bin', bytes: 5 * MIB },
        { name: 'empty', filename: 'empty', bytes: 0 },
      ],
    });
    const type = 'multipart/form-data; boundary=b';
    const cutOff = '--b\r\ncontent-disposition: form-data; name="a"\r\n\r\nno end';
    for (const [contentType, body] of [
      ['multipart/form-data', '--b--'],
      [type, cutOff],
      [type, 'nothing of that kind'],
    ] as const) {
      expect((await json('/parts', body, contentType)).status).toBe(400);
    }
  });

  test('a client that goes in mid part ends the reading of it', async () => {
    const before = probe.parts;
    const socket = await rawConnect(port);
    const body = '--b\r\ncontent-disposition: form-data; name="a"; filename="f"\r\n\r\nsome of it';
    socket.write(
      head('POST', '/parts', ['content-type: multipart/form-data; boundary=b', 'content-length: 100000'], body),
    );
    await delay(100);
    socket.destroy();
    await expect.poll(() => probe.parts).toBe(before + 1);
  });
});

test('a stopping server lets requests end and takes no new ones', async () => {
  const stopping = createServer(probeRoutes, authorise, gateway.services);
  const at = await stopping.listen('127.0.0.1', 0);
  const running = call({ url: `http://127.0.0.1:${at}` }, 'GET', '/waits?ms=300');
  await delay(100);
  await Promise.all([stopping.stop(5_000), expect(running).resolves.toMatchObject({ status: 200 })]);
  await expect(fetch(`http://127.0.0.1:${at}/waits?ms=1`)).rejects.toThrow();
});
