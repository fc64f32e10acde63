import { Sandbox } from '@wrenn/sdk';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Api, apiOf } from './testing/api.ts';
import { killService } from './testing/processes.ts';
import { sharedStack } from './testing/shared-stack.ts';
import { isBuilt, type Stack } from './testing/stack.ts';
import { startWorld, type World } from './testing/world.ts';

const EVERYTHING = '0.0.0.0/0';
/** Of curl. */
const NO_SUCH_HOST = 6;

describe.runIf(isBuilt)('NET4: a guest whose policy names domains', () => {
  let stack: Stack;
  let api: Api;
  let world: World;
  let sandbox: Sandbox;
  const made: Sandbox[] = [];

  beforeAll(async () => {
    stack = await sharedStack();
    api = apiOf(stack);
    world = await startWorld();
    const egress = { allow: ['www.example.com', '*.example.net'], deny: [EVERYTHING] };
    const { body } = await api('POST', '/v1/sandboxes', { egress });
    sandbox = await connect(body.id);
  });
  afterAll(async () => {
    for (const one of made) await one.kill().catch(() => undefined);
    await world?.close();
  });

  async function connect(id: string): Promise<Sandbox> {
    const connected = await Sandbox.connect(id, { apiUrl: stack.url, apiKey: stack.apiKey });
    made.push(connected);
    return connected;
  }

  /** What the server says, or curl's exit code. */
  async function get(host: string, from = sandbox): Promise<string | number> {
    const { exitCode, stdout } = await from.commands.run('curl', ['-s', '--max-time', '5', `http://${host}/`]);
    return exitCode === 0 ? stdout : exitCode;
  }
  const here = () => `the world at ${world.address}`;
  const there = () => `the world at ${world.otherAddress}`;

  test('reaches allowed names from the start, and nothing else', async () => {
    expect(await get('www.example.com')).toBe(here());
    expect(await get('a.b.example.net')).toBe(there());
    for (const name of ['example.com', 'example.net', 'www.example.org']) expect(await get(name)).toBe(NO_SUCH_HOST);
  });

  test('has another policy while it runs', async () => {
    await api('PATCH', `/v1/sandboxes/${sandbox.id}`, { egress: { allow: ['*.example.com'], deny: [EVERYTHING] } });
    expect(await get('any.example.com')).toBe(here());
    expect(await get('a.example.net')).toBe(NO_SUCH_HOST);
    expect(await get(world.otherAddress)).not.toBe(there()); // its name is allowed no more
  });

  test('keeps it when the agent dies and comes back', async () => {
    await killService(stack.settings, 'agent');
    expect(await sharedStack()).toBeDefined();
    // It answers before it has taken all its VMs over again.
    await expect.poll(() => get('more.example.com'), { timeout: 60_000 }).toBe(here());
    expect(await get('a.example.net')).toBe(NO_SUCH_HOST);
  });

  test('keeps it over a pause, and hands it to its forks', async () => {
    await api('POST', `/v1/sandboxes/${sandbox.id}/pause`);
    await api('POST', `/v1/sandboxes/${sandbox.id}/resume`);
    const { sandboxes } = await sandbox.fork(1);
    made.push(...sandboxes);
    for (const one of [sandbox, ...sandboxes]) {
      expect(await get('www.example.com', one)).toBe(here());
      expect(await get('www.example.org', one)).toBe(NO_SUCH_HOST);
      expect(await get(world.otherAddress, one)).not.toBe(there());
    }
    await api('PATCH', `/v1/sandboxes/${sandbox.id}`, { egress: {} });
    expect(await get(world.otherAddress)).toBe(there());
    expect(await get(world.otherAddress, sandboxes[0])).not.toBe(there());
  });
});
