import * as processes from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile, rm, stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AGENT, AgentProcess, AgentRoot } from '../../agent/test/agent-process.ts';
import { freePort } from '../../scripts/lib/free-port.ts';
import { call, signUp, startGateway, type TestGateway } from './gateway.ts';

const execFile = promisify(processes.execFile);

/** Three starts of an agent on a busy machine. */
const TIMEOUT_MS = 240_000;

let gateway: TestGateway;
let token: string;
let relay: Relay;
/** The host that is registered, and one that would like to be it. */
let [root, thief]: (AgentRoot | undefined)[] = [];
const agents: AgentProcess[] = [];

beforeAll(async () => {
  gateway = await startGateway();
  ({ token } = await signUp(gateway));
  relay = await Relay.start(gateway.url);
  root = await unregisteredRoot({ first: 9310, last: 9314 });
  thief = await unregisteredRoot({ first: 9315, last: 9319 });
}, TIMEOUT_MS);

afterAll(async () => {
  for (const agent of agents) await agent.stop();
  await relay?.close();
  await root?.remove();
  await thief?.remove();
  await gateway?.close();
}, TIMEOUT_MS);

async function unregisteredRoot(slots: { first: number; last: number }): Promise<AgentRoot> {
  const made = await AgentRoot.make(slots);
  await rm(credentialsOf(made));
  return made;
}

const credentialsOf = ({ folder }: AgentRoot): string => join(folder, 'host-credentials.json');

/** The way to the control plane, on which the answer to the first registration is lost. */
class Relay {
  readonly #server: Server;
  readonly #lost = Promise.withResolvers<{ status: number; body: string }>();
  #isLost = false;
  readonly #beaten = Promise.withResolvers<number>();

  private constructor(target: string) {
    this.#server = createServer((request, response) => {
      this.#pass(target, request, response).catch(() => response.destroy());
    });
  }

  async #pass(target: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { url = '', method = 'GET', headers } = request;
    const passed = new Headers({ 'content-type': 'application/json' });
    for (const name of ['authorization', 'idempotency-key']) {
      const value = headers[name];
      if (typeof value === 'string') passed.set(name, value);
    }
    const answer = await fetch(target + url, { method, headers: passed, body: Buffer.concat(await request.toArray()) });
    const body = await answer.text();
    if (url === '/v1/hosts/register' && !this.#isLost) {
      this.#isLost = true;
      this.#lost.resolve({ status: answer.status, body });
      return;
    }
    if (url.endsWith('/heartbeat')) this.#beaten.resolve(answer.status);
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(body);
  }

  static async start(target: string): Promise<Relay> {
    const relay = new Relay(target);
    relay.#server.listen(0, '127.0.0.1');
    await once(relay.#server, 'listening');
    return relay;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** What the control plane said, which nobody was told. */
  get lost(): Promise<{ status: number; body: string }> {
    return this.#lost.promise;
  }

  /** Status of the first heartbeat. */
  get beaten(): Promise<number> {
    return this.#beaten.promise;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

test(
  'H1: an agent killed between the commit of its registration and its credentials registers again as the same host; another may not',
  async () => {
    if (root === undefined || thief === undefined) return expect.unreachable();
    const { body } = await call(gateway, 'POST', '/v1/hosts', { token, body: { name: 'killed over it' } });
    const address = `127.0.0.1:${await freePort()}`;
    const args = ['--register', body.registration_token, '--address', address];
    const settings = { WRENN_CP_URL: relay.url, WRENN_AGENT_LISTEN: address };

    const killed = await AgentProcess.start(root, settings, args);
    const lost = await relay.lost;
    await killed.kill();
    expect(lost.status).toBe(200);
    expect(existsSync(credentialsOf(root))).toBe(false);
    expect((await stat(join(root.folder, 'registration-key'))).mode & 0o777).toBe(0o600);

    const env = { ...thief.settings, WRENN_CP_URL: relay.url };
    const other = execFile(process.execPath, [AGENT, ...args], { cwd: thief.folder, env });
    await expect(other).rejects.toMatchObject({ code: 1, stderr: expect.stringContaining('/v1/hosts/register: 401') });
    expect(existsSync(credentialsOf(thief))).toBe(false);

    agents.push(await AgentProcess.start(root, settings, args));
    expect(await relay.beaten).toBe(200);
    const { host_id, refresh_token, control_plane_secret } = JSON.parse(lost.body);
    expect(host_id).toBe(body.host.id);
    const written = JSON.parse(await readFile(credentialsOf(root), 'utf8'));
    expect(written).toMatchObject({ host_id, refresh_token, control_plane_secret });
    const shown = await call(gateway, 'GET', `/v1/hosts/${host_id}`, { token });
    expect(shown.body).toMatchObject({ name: 'killed over it', status: 'online', address });
  },
  TIMEOUT_MS,
);
