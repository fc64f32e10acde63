import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runningService } from '../scripts/dev/services.ts';
import { type Api, apiOf, createSandbox } from './testing/api.ts';
import { vmmOf } from './testing/host-state.ts';
import { sharedStack } from './testing/shared-stack.ts';
import { isBuilt, type Stack } from './testing/stack.ts';

/** Heartbeats come every 30 s; 90 s of silence and the deadline's own second. */
const SILENCE_MS = 130_000;

/** An inventory at the host's return, and two sweeps of 30 s. */
const ORPHAN_MS = 120_000;

/** H4 with a host that hangs: it is there, and says nothing. */
describe.runIf(isBuilt)('a host that falls silent', { timeout: 300_000 }, () => {
  let stack: Stack;
  let api: Api;
  let id: string;
  let other: string;
  let agent: number;

  beforeAll(async () => {
    stack = await sharedStack();
    api = apiOf(stack);
    id = await createSandbox(api, { memory_mb: 256 });
    other = await createSandbox(api, { memory_mb: 256 });
    agent = runningService(stack.settings, 'agent')?.pid ?? 0;
  });
  afterAll(async () => {
    if (agent) process.kill(agent, 'SIGCONT');
    await api?.('DELETE', `/v1/sandboxes/${id}`);
  });

  const statusOf = async (sandbox = id) => (await api('GET', `/v1/sandboxes/${sandbox}`)).body.status;

  /** A person says that the host holds nothing of it, and is wrong. */
  async function giveUpDestroy(sandbox: string): Promise<void> {
    const admin = apiOf(stack, 'admin');
    const actor = await admin('GET', `/v1/actors/sandbox/${sandbox}`);
    const { number } = actor.body.effects.find(({ name }: { name: string }) => name === 'vm.destroy');
    const answer = await admin('POST', `/v1/actors/sandbox/${sandbox}/effects/${number}/give-up`);
    expect(answer.status).toBe(204);
  }

  test('is unreachable and its sandboxes missing; when it is back they run on, and what nobody owns any more is ended', async () => {
    const [vmm, orphan] = [vmmOf(stack.settings, id), vmmOf(stack.settings, other)];
    process.kill(agent, 'SIGSTOP');
    await expect.poll(() => statusOf(), { timeout: SILENCE_MS, interval: 1_000 }).toBe('missing');
    const hosts = await apiOf(stack, 'admin')('GET', '/v1/hosts');
    expect(hosts.body.items[0].status).toBe('unreachable');
    const missing = await api('POST', `/v1/sandboxes/${id}/exec`, { cmd: 'true' });
    expect(missing).toMatchObject({
      status: 409,
      body: { error: { code: 'not_running', details: { state: 'missing' } } },
    });
    expect((await api('POST', '/v1/sandboxes', {})).body.error.code).toBe('no_hosts_available');

    await api('DELETE', `/v1/sandboxes/${other}?wait=false`);
    await giveUpDestroy(other);
    await expect.poll(() => statusOf(other), { timeout: 10_000 }).toBe('stopped');

    process.kill(agent, 'SIGCONT');
    await expect.poll(() => statusOf(), { timeout: 60_000, interval: 500 }).toBe('running');
    expect(vmmOf(stack.settings, id)).toBe(vmm);
    expect((await api('POST', `/v1/sandboxes/${id}/exec`, { cmd: 'echo', args: ['back'] })).body.stdout).toBe('back\n');

    await expect.poll(() => existsSync(`/proc/${orphan}`), { timeout: ORPHAN_MS, interval: 500 }).toBe(false);
    expect(vmmOf(stack.settings, id)).toBe(vmm);
  });
});
