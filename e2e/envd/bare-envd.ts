import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Sandbox } from 'e2b';
import { afterAll, beforeAll, test } from 'vitest';

/** Where the SDK's debug mode looks for the guest agent; it cannot be told otherwise. */
const DEBUG_PORT = 49983;

const BUILT = fileURLToPath(
  new URL('../../native/target-static/x86_64-unknown-linux-gnu/release/envd', import.meta.url),
);

/** A guest agent without a VM around it, with an SDK that speaks to it in debug mode. */
export interface BareEnvd {
  readonly sandbox: Sandbox;
  /** Base URL of the agent. */
  readonly url: string;
  /** A folder of its own that every user may write to; removed at the end. */
  readonly dir: string;
  stop(): Promise<void>;
}

/**
 * Starts the release binary on the SDK's debug port, in a mount namespace in which root has an empty home.
 * With a token the agent is initialised and the SDK carries the token.
 *
 * @returns undefined, with a printed reason, when somebody else has the port
 */
export async function startBareEnvd(opts: { token?: string } = {}): Promise<BareEnvd | undefined> {
  if (await isTaken(DEBUG_PORT)) {
    console.log(`skipped: port ${DEBUG_PORT} is taken, the SDK's debug mode knows no other`);
    return undefined;
  }
  const binary = process.env.WRENN_ENVD_BIN ?? BUILT;
  if (!existsSync(binary)) {
    throw new Error(`no guest agent at ${binary}: build it as docs/e2b.md says`);
  }
  const script = 'mount -t tmpfs tmpfs /root && cd / && exec "$@"';
  const args = ['--mount', '--propagation', 'private', 'sh', '-c', script, 'sh', binary, '--host', '127.0.0.1'];
  const child = spawn('unshare', args, { stdio: ['ignore', 'inherit', 'pipe'] });
  const exited = once(child, 'exit');
  const said = createInterface(child.stderr);
  const ready = await Promise.race([once(said, 'line'), exited]);
  if (!String(ready[0]).includes('listens on')) {
    throw new Error(`the guest agent does not start: ${ready[0]}`);
  }
  const url = `http://localhost:${DEBUG_PORT}`;
  if (opts.token) {
    const answer = await fetch(`${url}/init`, { method: 'POST', body: JSON.stringify({ accessToken: opts.token }) });
    if (answer.status !== 204) throw new Error(`/init answers ${answer.status}`);
  }
  const dir = mkdtempSync(join(tmpdir(), 'wrenn-envd-'));
  const sandbox = new Sandbox({
    sandboxId: 'debug',
    envdVersion: answerVersion(await fetch(`${url}/health`)),
    debug: true,
    ...(opts.token ? { envdAccessToken: opts.token } : {}),
  });
  return {
    sandbox,
    url,
    dir,
    async stop() {
      child.kill('SIGTERM');
      await exited;
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

function answerVersion(health: Response): string {
  const version = health.headers.get('x-envd-version');
  if (!version) throw new Error('the guest agent does not tell its version');
  return version;
}

function isTaken(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** One guest agent for the tests of a suite; what it returns makes such a test, skipped where there is no agent. */
export function testsOfEnvd(
  opts: { token?: string } = {},
): (name: string, body: (envd: BareEnvd) => Promise<void>) => void {
  let envd: BareEnvd | undefined;
  beforeAll(async () => {
    envd = await startBareEnvd(opts);
  });
  afterAll(() => envd?.stop());
  return (name, body) => test(name, async (context) => (envd ? body(envd) : context.skip()));
}
