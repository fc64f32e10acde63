import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { readPidFile } from '../lib/daemon.ts';
import { endProcess } from '../lib/process-record.ts';
import { cleanHost } from './clean-host.ts';
import { pauseSandboxes } from './pause-sandboxes.ts';
import { pidFile, runningService, SERVICES, type ServiceName } from './services.ts';
import { type StackSettings, stackSettings } from './settings.ts';

/** PostgreSQL's SIGINT is its fast shutdown; the others end on SIGTERM. */
const STOP_SIGNAL: Partial<Record<ServiceName, NodeJS.Signals>> = { postgres: 'SIGINT' };

/** The agent and the control plane finish what they do; a data store that is ending flushes. */
const GRACE_MS = 20_000;

/** Stops everything and leaves nothing behind in the kernel. Works whatever is already dead. */
export async function down(): Promise<number> {
  const settings = await stackSettings();
  await stopStack(settings, console.log);
  return 0;
}

/** As `make down`, for a stack anywhere; each thing done is said in one line. */
export async function stopStack(settings: StackSettings, say: (line: string) => void): Promise<void> {
  if (runningService(settings, 'control-plane')) say(`  ${await pauseSandboxes(settings)}`);
  for (const name of [...SERVICES].reverse()) {
    if (name === 'redis') await cleanUp(settings, say); // the agent is gone now
    await stopService(settings, name, say);
  }
}

async function stopService(settings: StackSettings, name: ServiceName, say: (line: string) => void): Promise<void> {
  const record = readPidFile(pidFile(settings, name));
  if (!record) return;
  const signal = STOP_SIGNAL[name] ?? 'SIGTERM';
  say(`  ${name}: ${await endProcess(record, { signal, graceMs: GRACE_MS })}`);
  rmSync(pidFile(settings, name), { force: true });
}

async function cleanUp(settings: StackSettings, say: (line: string) => void): Promise<void> {
  if (!existsSync(join(settings.wrennDir, 'journal'))) return; // no agent ever ran here
  const cleaned = await cleanHost(settings);
  if (cleaned !== '') say(`  host: ${cleaned}`);
}
