import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { envdIsBuilt } from './testing/envd.ts';
import { type GuestFleet, startGuestFleet } from './testing/guest-fleet.ts';

let { fleet, key, id, post, close } = {} as GuestFleet;
const folder = mkdtempSync(join(tmpdir(), 'wrenn-files-test-'));

const exec = (body: unknown) => post('/exec', body);

describe.runIf(envdIsBuilt)('files of a guest (API3)', () => {
  beforeAll(async () => {
    ({ fleet, key, id, post, close } = await startGuestFleet('127.0.9.2'));
  });
  afterAll(async () => {
    await close?.();
    rmSync(folder, { recursive: true });
  });

  const form = async (path: string, parts: [string, string | Blob, string?][]) => {
    const data = new FormData();
    for (const [name, value, filename] of parts) {
      if (typeof value === 'string') data.append(name, value);
      else data.append(name, value, filename);
    }
    const response = await fetch(`${fleet.url}/v1/sandboxes/${id}${path}`, {
      method: 'POST',
      headers: { 'x-api-key': key },
      body: data,
    });
    return { status: response.status, body: (await response.json()) as never };
  };
  const read = async (path: string, headers = {}) => {
    const response = await fetch(`${fleet.url}/v1/sandboxes/${id}/files/read`, {
      method: 'POST',
      headers: { 'x-api-key': key, 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ path }),
    });
    return { status: response.status, headers: response.headers, bytes: Buffer.from(await response.arrayBuffer()) };
  };

  test.each([0, 1, 1_000_000])('%i bytes are written and read back', async (size) => {
    const bytes = randomBytes(size);
    const path = join(folder, 'made/on the way', `${size}.bin`);
    const written = await form('/files/write', [
      ['path', path],
      ['file', new Blob([bytes]), 'ignored'],
    ]);
    expect(written).toEqual({ status: 200, body: { items: [{ path, name: `${size}.bin`, bytes: size }] } });
    expect(readFileSync(path)).toEqual(bytes);
    const back = await read(path);
    expect([back.status, back.headers.get('content-length')]).toEqual([200, String(size)]);
    expect(back.bytes.equals(bytes)).toBe(true);
  });

  test('several files of one form by their names, and a path in the query', async () => {
    const several = await form('/files/write', [
      ['file', new Blob(['a']), join(folder, 'a.txt')],
      ['file', new Blob(['b']), join(folder, 'b.txt')],
    ]);
    expect(several.status).toBe(200);
    expect(readFileSync(join(folder, 'b.txt'), 'utf8')).toBe('b');
    const query = new URLSearchParams({ path: join(folder, 'c.txt') });
    expect((await form(`/files/write?${query}`, [['file', new Blob(['c'])]])).status).toBe(200);
    expect(readFileSync(join(folder, 'c.txt'), 'utf8')).toBe('c');
  });

  test('200 MB stream both ways in constant memory', { timeout: 60_000 }, async () => {
    const path = join(folder, 'large.bin');
    const chunk = randomBytes(1_000_000);
    const sent = createHash('sha256');
    async function* body() {
      for (let n = 0; n < 200; n += 1) {
        sent.update(chunk);
        yield chunk;
      }
    }
    const before = process.memoryUsage().rss;
    let peak = 0;
    const watch = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage().rss);
    }, 50);
    const headers = { 'x-api-key': key };
    const query = new URLSearchParams({ path });
    const upload = await request(`${fleet.url}/v1/sandboxes/${id}/files/stream/write?${query}`, {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/octet-stream' },
      body: body() as never,
    });
    expect([upload.statusCode, await upload.body.json()]).toEqual([
      200,
      { items: [{ path, name: 'large.bin', bytes: 200_000_000 }] },
    ]);
    expect(statSync(path).size).toBe(200_000_000);
    const download = await request(`${fleet.url}/v1/sandboxes/${id}/files/stream/read`, {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/json' },
      body: JSON.stringify({ path }),
    });
    expect(download.headers['content-length']).toBe('200000000');
    const received = createHash('sha256');
    for await (const part of download.body) received.update(part as Buffer);
    clearInterval(watch);
    expect(received.digest('hex')).toBe(sent.digest('hex'));
    expect(peak - before).toBeLessThan(150_000_000);
  });

  test('a client that goes in mid-upload leaves no half file under the name', async () => {
    const path = join(folder, 'half.bin');
    const abort = new AbortController();
    async function* body() {
      yield randomBytes(500_000);
      await sleep(200);
      abort.abort();
      await sleep(1_000);
      yield randomBytes(1);
    }
    const query = new URLSearchParams({ path });
    await expect(
      request(`${fleet.url}/v1/sandboxes/${id}/files/stream/write?${query}`, {
        method: 'POST',
        headers: { 'x-api-key': key, 'content-type': 'application/octet-stream' },
        body: body() as never,
        signal: abort.signal,
      }),
    ).rejects.toThrow();
    await sleep(300);
    expect(() => statSync(path)).toThrow('ENOENT');
    expect((await exec({ cmd: 'true' })).status).toBe(200);
  });

  test('ranges', async () => {
    await form('/files/write', [
      ['path', join(folder, 'range.txt')],
      ['file', new Blob(['0123456789'])],
    ]);
    const part = await read(join(folder, 'range.txt'), { range: 'bytes=2-4' });
    expect([part.status, part.bytes.toString(), part.headers.get('content-range')]).toEqual([
      206,
      '234',
      'bytes 2-4/10',
    ]);
  });

  test('folders are made, listed and removed', async () => {
    const path = join(folder, 'dir/sub');
    const made = await post('/files/mkdir', { path });
    expect(made).toMatchObject({ status: 201, body: { type: 'directory', path, owner: 'root', mode: 0o755 } });
    expect((await post('/files/mkdir', { path })).status).toBe(409);
    await form('/files/write', [
      ['path', join(path, 'f')],
      ['file', new Blob(['12'])],
    ]);
    const list = await post('/files/list', { path });
    expect(list.body.items).toMatchObject([{ name: 'f', type: 'file', size: 2 }]);
    expect((await post('/files/list', { path: join(folder, 'dir'), depth: 2 })).body.items).toHaveLength(2);
    expect((await post('/files/remove', { path })).status).toBe(204);
    expect((await post('/files/remove', { path })).status).toBe(204);
    expect((await post('/files/list', { path })).status).toBe(404);
  });

  test.each([
    ['/files/read', { path: '/no/such/file' }, 404],
    ['/files/read', { path: '/tmp' }, 400],
    ['/files/read', { path: '' }, 400],
    ['/files/read', { path: '/etc/passwd', user: 'nobodyhere' }, 400],
    ['/files/read', { path: 'a\0b' }, 400],
    ['/files/list', { path: '/etc/passwd' }, 400],
    ['/files/list', { path: '/tmp', depth: 0 }, 400],
  ])('%s %j is %i', async (path, body, status) => {
    expect((await post(path, body)).status).toBe(status);
  });

  test('a form without a file, with an unknown field, or of a broken shape is 400', async () => {
    expect((await form('/files/write', [['path', '/tmp/x']])).status).toBe(400);
    expect((await form('/files/write', [['colour', 'red']])).status).toBe(400);
    const raw = (body: string, type: string) =>
      fetch(`${fleet.url}/v1/sandboxes/${id}/files/write`, {
        method: 'POST',
        headers: { 'x-api-key': key, 'content-type': type },
        body,
      });
    expect((await raw('--x\r\nnonsense', 'multipart/form-data; boundary=x')).status).toBe(400);
    expect((await raw('{}', 'application/json')).status).toBe(415);
  });
});
