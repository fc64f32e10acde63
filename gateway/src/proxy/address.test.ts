import { expect, test } from 'vitest';
import { Addresses } from './address.ts';

const ID = 'sb0f3k9v2m7q1x8w5z4c6t';
const read = (host: string, headers: Record<string, string> = {}, domain = 'wrenn.test:8443') =>
  new Addresses(domain).read(host, (name) => headers[name] ?? '');

test('PX1: a host name names port and sandbox', () => {
  const port3000 = { kind: 'port', sandboxId: ID, port: 3000, byHeaders: false };
  expect(read(`3000-${ID}.wrenn.test`)).toEqual(port3000);
  expect(read(`3000-${ID}.wrenn.test:8443`)).toEqual(port3000);
  expect(read(`3000-${ID.toUpperCase()}.Wrenn.Test:1`)).toEqual(port3000);
});

test.each([
  'wrenn.test',
  'api.wrenn.test:8443',
  'localhost:8080',
  '127.0.0.1:8080',
  '[::1]:8080',
  `3000-${ID}.elsewhere.test`,
  `3000-${ID}.xwrenn.test`,
  '',
])('PX1: %s is the API', (host) => {
  expect(read(host)).toBeNull();
});

test.each([
  `0-${ID}`,
  `65536-${ID}`,
  `123456-${ID}`,
  '3000-short',
  `3000-x${ID}`,
  `3000-${ID}-x`,
  '3000-',
  `3000-${ID}.x`,
])('PX3: %s is malformed', (label) => {
  expect(read(`${label}.wrenn.test`)).toMatchObject({ kind: 'malformed', byHeaders: false });
});

test('X1: routing headers count where the host name is not a sandbox', () => {
  const headers = { 'e2b-sandbox-id': ID, 'e2b-sandbox-port': '49983' };
  expect(read('127.0.0.1:8080', headers)).toEqual({ kind: 'port', sandboxId: ID, port: 49_983, byHeaders: true });
  expect(read(`3000-${ID}.wrenn.test`, headers)).toMatchObject({ port: 3000, byHeaders: false });
  expect(read('localhost', { ...headers, 'e2b-sandbox-id': `${ID}-6532622b` })).toMatchObject({ sandboxId: ID });
  expect(read('localhost', { 'e2b-sandbox-id': ID })).toMatchObject({ kind: 'malformed', byHeaders: true });
  expect(read('localhost', { ...headers, 'e2b-sandbox-id': '../etc' })).toMatchObject({ kind: 'malformed' });
});
