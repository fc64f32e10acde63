import { setTimeout as sleep } from 'node:timers/promises';
import { readDevEnv } from './account.ts';
import { type ApiClient, apiClient } from './api.ts';
import { apiUrl, type StackSettings } from './settings.ts';

const TIMEOUT_MS = 60_000;
const POLL_MS = 100;
/** States in which a sandbox holds nothing any more. */
const ENDED = ['stopped', 'error'];

/**
 * Asks for the end of every sandbox that the account of `dev.env` sees and waits until the hosts have released them.
 * Those of other teams end with the agent (see clean-host.ts), and show as lost on their host.
 * @returns a line that says how many.
 */
export async function destroySandboxes(settings: StackSettings): Promise<string> {
  const { WRENN_API_KEY: key } = readDevEnv(settings);
  if (!key) return 'no sandbox to destroy: no key was made yet';
  const api = apiClient(apiUrl(settings), { key });
  try {
    const live = await liveSandboxes(api);
    await Promise.all(live.map((id) => api.call('DELETE', `/v1/sandboxes/${id}`).catch(() => undefined)));
    const left = await untilReleased(api);
    const destroyed = live.length - left;
    return `${destroyed} running ${destroyed === 1 ? 'sandbox' : 'sandboxes'} destroyed${left ? `, ${left} not` : ''}`;
  } catch (error) {
    return `sandboxes could not be destroyed by the API (${error instanceof Error ? error.message : error})`;
  }
}

async function untilReleased(api: ApiClient): Promise<number> {
  const deadline = Date.now() + TIMEOUT_MS;
  for (;;) {
    const { length } = await liveSandboxes(api);
    if (length === 0 || Date.now() > deadline) return length;
    await sleep(POLL_MS);
  }
}

async function liveSandboxes(api: ApiClient): Promise<string[]> {
  const live: string[] = [];
  let cursor: string | null | undefined;
  do {
    const query = cursor ? `&cursor=${encodeURIComponent(cursor)}` : '';
    const page = await api.call<{ items: { id: string; status: string }[]; next_cursor?: string | null }>(
      'GET',
      `/v1/sandboxes?limit=100${query}`,
    );
    live.push(...page.items.filter(({ status }) => !ENDED.includes(status)).map(({ id }) => id));
    cursor = page.next_cursor;
  } while (cursor);
  return live;
}
