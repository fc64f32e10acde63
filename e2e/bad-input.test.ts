import { request as httpRequest } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Api, apiOf, call, createSandbox } from './testing/api.ts';
import { sharedStack } from './testing/shared-stack.ts';
import { isBuilt, type Stack } from './testing/stack.ts';

/** What comes from careless and from hostile callers; the guest is real. */
describe.runIf(isBuilt)('bad input', () => {
  let stack: Stack;
  let api: Api;
  let id: string;

  beforeAll(async () => {
    stack = await sharedStack();
    api = apiOf(stack);
    id = await createSandbox(api, { memory_mb: 256 });
  });
  afterAll(() => api?.('DELETE', `/v1/sandboxes/${id}`));

  const exec = (body: unknown) => api('POST', `/v1/sandboxes/${id}/exec`, body);

  test.each([
    ['unknown template', { template: 'no-such' }, 404, 'template_not_found'],
    ['vcpus', { vcpus: 64 }, 400, 'bad_request'],
    ['memory', { memory_mb: 1 }, 400, 'bad_request'],
    ['disk', { disk_size_mb: 1 }, 400, 'bad_request'],
    ['unknown field', { colour: 'red' }, 400, 'bad_request'],
    ['wrong type', { labels: 'none' }, 400, 'bad_request'],
  ])('create: %s', async (_name, body, status, code) => {
    const answer = await api('POST', '/v1/sandboxes', body);
    expect([answer.status, answer.body.error.code]).toEqual([status, code]);
  });

  test('malformed and unknown ids', async () => {
    expect((await api('GET', '/v1/sandboxes/nope')).status).toBe(400);
    expect((await api('GET', `/v1/sandboxes/sb${'z'.repeat(20)}`)).status).toBe(404);
    expect((await api('POST', '/v1/sandboxes/..%2f..%2fetc/exec', { cmd: 'true' })).status).toBe(400);
  });

  test('no key, a wrong key, a revoked key', async () => {
    expect((await call(stack.url, 'GET', '/v1/sandboxes')).status).toBe(401);
    expect(
      (await call(stack.url, 'GET', '/v1/sandboxes', undefined, { 'x-api-key': `wrn_${'0'.repeat(32)}` })).status,
    ).toBe(401);
    const admin = apiOf(stack, 'admin');
    const made = await admin('POST', '/v1/api-keys', { name: 'short-lived' });
    const withKey = () => call(stack.url, 'GET', '/v1/sandboxes', undefined, { 'x-api-key': made.body.key });
    expect((await withKey()).status).toBe(200);
    expect((await admin('DELETE', `/v1/api-keys/${made.body.id}`)).status).toBe(204);
    expect((await withKey()).status).toBe(401);
  });

  test('a body that is no JSON, not UTF-8, or too large', async () => {
    expect((await exec('{"cmd":')).status).toBe(400);
    const raw = (body: Uint8Array) =>
      fetch(`${stack.url}/v1/sandboxes/${id}/exec`, {
        method: 'POST',
        headers: { 'x-api-key': stack.apiKey, 'content-type': 'application/json' },
        body,
      });
    expect((await raw(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]))).status).toBe(400);
    expect((await exec({ cmd: 'true', stdin: 'x'.repeat(2_000_000) })).status).toBe(413);
  });

  test('a missing binary, a missing folder, an unknown user', async () => {
    expect((await exec({ cmd: 'no-such-binary' })).body).toMatchObject({
      exit_code: 127,
      stderr: expect.stringContaining('no-such-binary'),
    });
    expect((await exec({ cmd: 'true', cwd: '/no/where' })).status).toBe(400);
    expect((await exec({ cmd: 'true', user: 'stranger' })).status).toBe(400);
  });

  test('paths go nowhere but to the guest (and its permissions are the user’s)', async () => {
    const read = (path: string) => api('POST', `/v1/sandboxes/${id}/files/read`, { path });
    const passwd = await read('../../../../../../etc/passwd');
    expect(passwd.status).toBe(200);
    expect(passwd.body).toContain('user:x:1000');
    const host = await read(`../../../../../..${stack.settings.dir}/stack.json`);
    expect(host.status).toBe(404);
  });

  test('a guest disk that is full is 507, with and without a length', async () => {
    const mount = await exec({
      cmd: 'sh',
      args: ['-c', 'mkdir -p /small && mount -t tmpfs -o size=1m,mode=777 small /small'],
      user: 'root',
    });
    expect(mount.body).toMatchObject({ exit_code: 0 });
    const bytes = Buffer.alloc(3_000_000, 1);
    const write = (body: Uint8Array | ReadableStream) =>
      fetch(`${stack.url}/v1/sandboxes/${id}/files/stream/write?path=/small/file`, {
        method: 'POST',
        headers: { 'x-api-key': stack.apiKey, 'content-type': 'application/octet-stream' },
        body,
        duplex: 'half',
      } as RequestInit);
    expect((await write(bytes)).status).toBe(507);
    const answer = await write(new Blob([bytes]).stream());
    expect([answer.status, ((await answer.json()) as { error: { code: string } }).error.code]).toEqual([
      507,
      'disk_full',
    ]);
    expect((await exec({ cmd: 'ls', args: ['-A', '/small'] })).body.stdout).toBe('');
    expect((await write(Buffer.alloc(1_000, 1))).status).toBe(200);
  });

  test('a client that goes in mid-exec and in mid-upload does no harm', async () => {
    const abort = new AbortController();
    const long = fetch(`${stack.url}/v1/sandboxes/${id}/exec`, {
      method: 'POST',
      headers: { 'x-api-key': stack.apiKey, 'content-type': 'application/json' },
      body: JSON.stringify({ cmd: 'sleep', args: ['20'], timeout_sec: 3 }),
      signal: abort.signal,
    });
    setTimeout(() => abort.abort(), 500);
    await expect(long).rejects.toThrow();
    await new Promise<void>((resolve) => {
      const upload = httpRequest(`${stack.url}/v1/sandboxes/${id}/files/stream/write?path=half`, {
        method: 'POST',
        headers: { 'x-api-key': stack.apiKey, 'content-type': 'application/octet-stream' },
      });
      upload.on('error', () => resolve());
      upload.write(Buffer.alloc(500_000));
      setTimeout(() => upload.destroy(), 500);
    });
    await expect.poll(async () => (await exec({ cmd: 'ls', args: ['/home/user'] })).body.stdout).not.toContain('half');
    await expect.poll(async () => (await api('GET', `/v1/sandboxes/${id}/processes`)).body.items).toEqual([]);
  });

  test('a stopped sandbox: 409 with state, since when, legal commands', async () => {
    const other = await createSandbox(api, { memory_mb: 256 });
    await api('DELETE', `/v1/sandboxes/${other}`);
    const answer = await api('POST', `/v1/sandboxes/${other}/exec`, { cmd: 'true' });
    expect(answer.status).toBe(409);
    expect(answer.body.error).toMatchObject({
      code: 'not_running',
      details: { state: 'stopped', since: expect.any(String), legal_commands: [] },
    });
  });

  test('the same Idempotency-Key twice: one sandbox, one answer', async () => {
    const create = () => api('POST', '/v1/sandboxes', { memory_mb: 256 }, { 'idempotency-key': `twice-${id}` });
    const answers = await Promise.all([create(), create()]);
    expect(answers.map(({ status }) => status)).toEqual([201, 201]);
    expect(answers[0]?.body.id).toBe(answers[1]?.body.id);
    await api('DELETE', `/v1/sandboxes/${answers[0]?.body.id}`);
  });
});
