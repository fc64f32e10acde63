import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { controlPlaneEnv } from '../scripts/dev/services.ts';
import { CHECKOUT } from '../scripts/lib/checkout.ts';
import { type Daemon, startDaemon } from '../scripts/lib/daemon.ts';
import { freePort } from '../scripts/lib/free-port.ts';
import { type Api, apiOf, createSandbox } from './testing/api.ts';
import { hostState } from './testing/host-state.ts';
import { killService } from './testing/processes.ts';
import { sharedStack } from './testing/shared-stack.ts';
import { isBuilt, type Stack } from './testing/stack.ts';

/** H7: replicas share the actors; one that is killed is succeeded within seconds, and nothing runs twice. */
describe.runIf(isBuilt)('a second control plane', { timeout: 240_000 }, () => {
  let stack: Stack;
  let first: Api;
  let second: Api;
  let replica: Daemon;

  beforeAll(async () => {
    stack = await sharedStack();
    first = apiOf(stack);
    const listen = `127.0.0.1:${await freePort()}`;
    replica = await startDaemon({
      name: 'second-control-plane',
      argv: [process.execPath, join(CHECKOUT, 'gateway/src/main.ts')],
      cwd: CHECKOUT,
      env: controlPlaneEnv({ ...stack.settings, listen }),
      logFile: join(stack.settings.dir, 'log', 'second-control-plane.log'),
      readyTimeoutMs: 60_000,
      ready: async (signal) => (await fetch(`http://${listen}/health`, { signal })).ok,
    });
    second = apiOf({ ...stack, url: `http://${listen}` });
  });
  afterAll(async () => {
    await replica?.stop();
    await sharedStack();
  });

  test('any replica serves any request', async () => {
    const ids = await Promise.all([
      createSandbox(first, { memory_mb: 128 }),
      createSandbox(second, { memory_mb: 128 }),
    ]);
    for (const api of [first, second]) {
      for (const id of ids) {
        const answer = await api('POST', `/v1/sandboxes/${id}/exec`, { cmd: 'hostname' });
        expect(answer.body.stdout.trim()).toBe(id);
      }
    }
    const [a, b] = ids as [string, string];
    expect((await second('DELETE', `/v1/sandboxes/${a}`)).status).toBe(204);
    expect((await first('DELETE', `/v1/sandboxes/${b}`)).status).toBe(204);
    for (const api of [first, second]) {
      expect((await api('POST', `/v1/sandboxes/${a}/exec`, { cmd: 'true' })).body.error.code).toBe('not_running');
    }
  });

  test('the other one finishes what a killed one had begun', async () => {
    const key = { 'idempotency-key': `replica-${Date.now()}` };
    const body = { memory_mb: 128 };
    const begun = Promise.all(
      [1, 2, 3].map((n) =>
        first('POST', '/v1/sandboxes', body, { 'idempotency-key': `${key['idempotency-key']}-${n}` }).catch(
          () => undefined,
        ),
      ),
    );
    await new Promise((resolve) => setTimeout(resolve, 700));
    await killService(stack.settings, 'control-plane');
    await begun;
    const answers = await Promise.all(
      [1, 2, 3].map((n) =>
        second('POST', '/v1/sandboxes', body, { 'idempotency-key': `${key['idempotency-key']}-${n}` }),
      ),
    );
    expect(answers.map(({ status }) => status)).toEqual([201, 201, 201]);
    expect((await hostState(stack.settings)).vmms).toHaveLength(3);
    for (const { body: sandbox } of answers) {
      expect((await second('POST', `/v1/sandboxes/${sandbox.id}/exec`, { cmd: 'true' })).body.exit_code).toBe(0);
      expect((await second('DELETE', `/v1/sandboxes/${sandbox.id}`)).status).toBe(204);
    }
    expect((await hostState(stack.settings)).vmms).toEqual([]);
  });
});
