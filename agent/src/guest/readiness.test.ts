import { once } from 'node:events';
import { createServer } from 'node:net';
import { expect, test } from 'vitest';
import { untilServing } from './readiness.ts';

test('TPL7: a guest is ready when the port of its services accepts connections, not before', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = address !== null && typeof address === 'object' ? address.port : 0;
  server.close();
  await once(server, 'close');
  let isReady = false;
  const ready = untilServing('127.0.0.1', port, new AbortController().signal).then(() => {
    isReady = true;
  });
  await expect(untilServing('127.0.0.1', port, AbortSignal.timeout(150))).rejects.toThrow();
  expect(isReady).toBe(false);
  server.listen(port, '127.0.0.1');
  await ready;
  server.close();
});
