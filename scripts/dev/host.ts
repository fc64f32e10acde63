import { setTimeout as sleep } from 'node:timers/promises';
import { type ApiClient, apiClient } from './api.ts';
import { isRegistered, runningService, startService } from './services.ts';
import { apiUrl, type StackSettings } from './settings.ts';

const ONLINE_TIMEOUT_MS = 60_000;
const ONLINE_POLL_MS = 100;

/** Starts the agent, registering it first where that was never done, and waits until a host is online. */
export async function startAgent(settings: StackSettings, token: string): Promise<boolean> {
  if (runningService(settings, 'agent')) return false;
  const api = apiClient(apiUrl(settings), { token });
  const registration = isRegistered(settings)
    ? []
    : ['--register', await registrationToken(api), '--address', settings.agentListen];
  await startService(settings, 'agent', ['run', ...registration]);
  await untilOnline(api);
  return true;
}

/** A host that never registered, left by a start that failed, gets a new token. */
async function registrationToken(api: ApiClient): Promise<string> {
  const pending = (await hosts(api)).find((host) => host.status === 'pending');
  const path = pending ? `/v1/hosts/${pending.id}/token` : '/v1/hosts';
  const answer = await api.call<{ registration_token: string }>('POST', path, pending ? undefined : { name: 'local' });
  return answer.registration_token;
}

async function hosts(api: ApiClient): Promise<{ id: string; status: string }[]> {
  return (await api.call<{ items: { id: string; status: string }[] }>('GET', '/v1/hosts?limit=100')).items;
}

async function untilOnline(api: ApiClient): Promise<void> {
  const deadline = Date.now() + ONLINE_TIMEOUT_MS;
  for (;;) {
    const items = await hosts(api);
    if (items.some((host) => host.status === 'online')) return;
    if (Date.now() > deadline) throw new Error(`no host came online: ${JSON.stringify(items)}`);
    await sleep(ONLINE_POLL_MS);
  }
}
