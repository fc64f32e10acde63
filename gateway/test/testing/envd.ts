import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** Where `make` puts the guest agent. */
const PROGRAM = join(import.meta.dirname, '../../../native/target-static/x86_64-unknown-linux-gnu/release/envd');
export const envdIsBuilt = existsSync(PROGRAM);

/** envd's port is fixed; each test file has an address of its own. */
const PORT = 49_983;

export interface Envd {
  readonly ip: string;
  readonly accessToken: string;
  close(): Promise<void>;
}

/** The real guest agent, on this machine instead of in a VM. */
export async function startEnvd(ip: string): Promise<Envd> {
  const accessToken = 'access token of a test';
  const envd = spawn(PROGRAM, ['--host', ip, '--port', String(PORT)], { stdio: ['ignore', 'ignore', 'inherit'] });
  const base = `http://${ip}:${PORT}`;
  await untilHealthy(`${base}/health`);
  const body = JSON.stringify({ accessToken, defaultUser: 'root' });
  const init = await fetch(`${base}/init`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
  if (init.status !== 204) throw new Error(`init: ${init.status} ${await init.text()}`);
  return {
    ip,
    accessToken,
    close: async () => {
      if (envd.exitCode !== null) return;
      envd.kill();
      await once(envd, 'exit');
    },
  };
}

async function untilHealthy(url: string): Promise<void> {
  for (let attempt = 0; attempt < 250; attempt += 1) {
    const up = await fetch(url).then(
      ({ ok }) => ok,
      () => false,
    );
    if (up) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`${url} does not answer`);
}
