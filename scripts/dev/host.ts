import { setTimeout as sleep } from 'node:timers/promises';
import { apiClient } from './api.ts';
import { isRegistered, runningService, startService } from './services.ts';
import { apiUrl, type StackSettings } from './settings.ts';

const ONLINE_TIMEOUT_MS = 60_000;
const ONLINE_POLL_MS = 100;

/** Starts the agent, registering it first where that was never done, and waits until a host is online. */
export async function startAgent(settings: StackSettings, token: string): Promise<boolean> {
  if (runningService(settings, 'agent')) return false;
  const api = apiClient(apiUrl(settings), { token });
  const args = isRegistered(settings) ? [] : ['--register', await registrationToken(api)];
  await startService(settings, 'agent', ['run', ...args, '--address', settings.agentListen]);
  await untilOnline(api);
  return true;
}

async function registrationToken(api: ReturnType<typeof apiClient>): Promise<string> {
  const body = { name: 'local' };
  return (await api.call<{ registration_token: string }>('POST', '/v1/hosts', body)).registration_token;
}

async function untilOnline(api: ReturnType<typeof apiClient>): Promise<void> {
  const deadline = Date.now() + ONLINE_TIMEOUT_MS;
  for (;;) {
    const { items } = await api.call<{ items: { status: string }[] }>('GET', '/v1/hosts');
    if (items.some((host) => host.status === 'online')) return;
    if (Date.now() > deadline) throw new Error(`no host came online: ${JSON.stringify(items)}`);
    await sleep(ONLINE_POLL_MS);
  }
}
