import type { DevAccount } from './account.ts';
import { ensureAccount } from './account.ts';
import { startAgent } from './host.ts';
import { logFile, startService } from './services.ts';
import type { StackSettings } from './settings.ts';
import { apiUrl, stackSettings } from './settings.ts';

/** Starts what does not run yet and prints how to use it. */
export async function up(): Promise<number> {
  const settings = await stackSettings();
  const account = await startStack(settings, console.log);
  console.log(welcome(settings, account));
  return 0;
}

/** As `make up`, for a stack anywhere; each thing started is said in one line. */
export async function startStack(settings: StackSettings, say: (line: string) => void): Promise<DevAccount> {
  const timed = async (name: string, start: () => Promise<boolean>) => {
    const began = Date.now();
    const started = await start();
    say(`  ${name}: ${started ? `started, ${((Date.now() - began) / 1000).toFixed(1)} s` : 'runs already'}`);
  };
  await timed('PostgreSQL', () => startService(settings, 'postgres'));
  await timed('Redis', () => startService(settings, 'redis'));
  await timed('control plane', () => startService(settings, 'control-plane'));
  const account = await ensureAccount(settings);
  await timed('agent', () => startAgent(settings, account.token));
  return account;
}

function welcome(settings: StackSettings, account: DevAccount): string {
  const url = apiUrl(settings);
  return `
Wrenn is up.

  address   ${url}
  account   ${account.email}
  password  ${account.password}
  API key   ${account.apiKey}

  (also in ${settings.dir}/dev.env; logs: ${logFile(settings, 'control-plane')}, ${logFile(settings, 'agent')})

Create a sandbox:

  curl -sS ${url}/v1/sandboxes -H 'X-API-Key: ${account.apiKey}' \\
    -H 'Content-Type: application/json' -d '{"template":"minimal"}'

"make down" stops everything.`;
}
