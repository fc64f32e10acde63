import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { consoleRoutes } from '../src/console/console-routes.ts';
import { createServer, type Server } from '../src/http/server.ts';
import { authorise } from '../src/identity/authorise.ts';
import { startGateway, type TestGateway } from './gateway.ts';

/** The console as the gateway serves it, from folders as `vite build` leaves them. */
let gateway: TestGateway;
let dist: string;
let built: { url: string; server: Server };
let empty: { url: string; server: Server };

const PAGE = '<!doctype html><title>Wrenn</title><div id="app"></div>';
const SCRIPT = `console.log(${JSON.stringify('x'.repeat(5_000))});`;

beforeAll(async () => {
  gateway = await startGateway();
  dist = mkdtempSync(join(tmpdir(), 'wrenn-console-'));
  mkdirSync(join(dist, 'assets'));
  writeFileSync(join(dist, 'index.html'), PAGE);
  writeFileSync(join(dist, 'wren.svg'), '<svg xmlns="http://www.w3.org/2000/svg"/>');
  writeFileSync(join(dist, 'assets/index-abc123.js'), SCRIPT);
  writeFileSync(join(dist, 'secret.env'), 'JWT_SECRET=1');
  built = await serve(dist);
  empty = await serve(join(dist, 'nothing'));
});
afterAll(async () => {
  await built?.server.stop(0);
  await empty?.server.stop(0);
  await gateway?.close();
  rmSync(dist, { recursive: true, force: true });
});

async function serve(folder: string) {
  const server = createServer(consoleRoutes(folder), authorise, gateway.services);
  return { server, url: `http://127.0.0.1:${await server.listen('127.0.0.1', 0)}` };
}

const get = (path: string, headers: Record<string, string> = {}) =>
  fetch(built.url + path, { redirect: 'manual', headers });

test('CON1: `/` leads to the list of capsules', async () => {
  const answer = await get('/');
  expect([answer.status, answer.headers.get('location')]).toEqual([302, '/dashboard/capsules/list']);
});

test.each(['/login', '/signup', '/dashboard/capsules/list', '/dashboard/actors/host/host-1', '/admin/hosts'])(
  'CON1: %s is the page, fresh each time, under a policy that lets nothing in from elsewhere',
  async (path) => {
    const answer = await get(path);
    expect([answer.status, await answer.text()]).toEqual([200, PAGE]);
    expect(answer.headers.get('cache-control')).toBe('no-cache');
    const policy = answer.headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("script-src 'self';");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).not.toMatch(/https?:|\*|unsafe-eval|script-src[^;]*unsafe-inline/);
    expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
    expect(answer.headers.get('x-frame-options')).toBe('DENY');
  },
);

test('CON3: files named by their content are kept for ever, and packed for who takes it', async () => {
  const packed = await get('/console/assets/index-abc123.js', { 'accept-encoding': 'gzip' });
  expect(packed.headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
  expect(packed.headers.get('content-encoding')).toBe('gzip');
  expect(packed.headers.get('content-type')).toBe('text/javascript; charset=utf-8');
  expect(Number(packed.headers.get('content-length'))).toBeLessThan(500);
  expect(await packed.text()).toBe(SCRIPT);
  const plain = await get('/console/assets/index-abc123.js', { 'accept-encoding': 'identity' });
  expect(plain.headers.get('content-encoding')).toBeNull();
  expect(plain.headers.get('vary')).toBe('accept-encoding');
  expect(await plain.text()).toBe(SCRIPT);
  expect((await get('/console/wren.svg')).headers.get('content-type')).toBe('image/svg+xml');
});

test.each([
  '/console/assets/none.js',
  '/console/assets/..%2findex.html',
  '/console/..%2f..%2f..%2fpackage.json',
  '/console/assets/%2e%2e%2f%2e%2e%2fsecret.env',
  '/console/secret.env',
  '/console/index.html',
  '/console/assets',
  '/elsewhere',
])('%s is not found', async (path) => {
  expect((await get(path)).status).toBe(404);
});

test('a console that was not built says so, and where the API is', async () => {
  const answer = await fetch(`${empty.url}/login`);
  expect(answer.status).toBe(200);
  const text = await answer.text();
  expect(text).toContain('make build');
  expect(text).toContain('href="/docs"');
});
