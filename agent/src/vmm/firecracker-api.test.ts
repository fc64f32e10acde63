import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { FirecrackerApi } from './firecracker-api.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wrenn-fc-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const never = new AbortController().signal;

/** Answers as Firecracker does, on its unix socket. */
async function serve(socket: string, answer: (call: string, body: string) => [number, string]) {
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      const [status, text] = answer(`${request.method} ${request.url}`, body);
      response.writeHead(status).end(text);
    });
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  return server;
}

test('VM1: a VMM that is still starting is waited for, and calls carry what they say', async () => {
  const socket = join(folder, 'api.sock');
  const info = new FirecrackerApi(socket).info(never);
  const calls: [string, unknown][] = [];
  const server = await serve(socket, (call, body) => {
    if (call === 'GET /') return [200, '{"state":"Not started","vmm_version":"1.17.0"}'];
    calls.push([call, JSON.parse(body)]);
    return [204, ''];
  });
  expect(await info).toMatchObject({ state: 'Not started' });
  await new FirecrackerApi(socket).call('PATCH /vm', { state: 'Paused' }, never);
  expect(calls).toEqual([['PATCH /vm', { state: 'Paused' }]]);
  server.close();
});

test("VM1: a refusal is told in Firecracker's words, with its status", async () => {
  const socket = join(folder, 'no.sock');
  const server = await serve(socket, () => [400, '{"fault_message":"The kernel file cannot be opened"}']);
  const call = new FirecrackerApi(socket).call('PUT /actions', { action_type: 'InstanceStart' }, never);
  await expect(call).rejects.toMatchObject({
    status: 400,
    message: 'PUT /actions: The kernel file cannot be opened',
  });
  server.close();
});

test('VM1: a VMM that ends its connection fails the call, and an abort does', async () => {
  await expect(
    new FirecrackerApi(join(folder, 'none.sock')).call('PATCH /vm', { state: 'Paused' }, never),
  ).rejects.toMatchObject({ code: 'ENOENT' });
  await expect(new FirecrackerApi(join(folder, 'none.sock')).info(AbortSignal.abort())).rejects.toThrow();
});
