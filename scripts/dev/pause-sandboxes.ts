import { setTimeout as sleep } from 'node:timers/promises';
import { readDevEnv } from './account.ts';
import { type ApiClient, apiClient } from './api.ts';
import { apiUrl, type StackSettings } from './settings.ts';

const TIMEOUT_MS = 120_000;
const POLL_MS = 100;
/** A pause writes a guest's memory: many at once only wait for the disk. */
const AT_ONCE = 4;
/** First parts of paths in which something is being done, which ends by itself. */
const WORKING = ['placing', 'starting', 'pausing', 'resuming', 'stopping'];

/**
 * Pauses every running sandbox, of all teams, so that a later start can resume it; one that cannot be paused is destroyed.
 * Waits for those that are being started or put away already.
 * @returns a line that says how many.
 */
export async function pauseSandboxes(settings: StackSettings): Promise<string> {
  const { WRENN_EMAIL: email, WRENN_PASSWORD: password } = readDevEnv(settings);
  if (!email || !password) return 'no sandbox to pause: no account was made yet';
  try {
    const anyone = apiClient(apiUrl(settings), undefined);
    const { token } = await anyone.call<{ token: string }>('POST', '/v1/auth/login', { email, password });
    const api = apiClient(apiUrl(settings), { token });
    const seen = { paused: 0, destroyed: 0 };
    const deadline = Date.now() + TIMEOUT_MS;
    for (;;) {
      const { running, working } = await liveSandboxes(api);
      await eachOf(running, async (id) => {
        seen[await putAway(api, id)] += 1;
      });
      if ((running.length === 0 && working === 0) || Date.now() > deadline) return line(seen, working);
      await sleep(POLL_MS);
    }
  } catch (error) {
    return `sandboxes could not be paused by the API (${error instanceof Error ? error.message : error})`;
  }
}

function line({ paused, destroyed }: { paused: number; destroyed: number }, left: number): string {
  const words = `${paused} running ${paused === 1 ? 'sandbox' : 'sandboxes'} paused`;
  return words + (destroyed > 0 ? `, ${destroyed} destroyed` : '') + (left > 0 ? `, ${left} not` : '');
}

async function putAway(api: ApiClient, id: string): Promise<'paused' | 'destroyed'> {
  const path = `/v1/actors/sandbox/${id}/commands`;
  try {
    await api.call('POST', path, { type: 'PAUSE' });
    return 'paused';
  } catch {
    await api.call('POST', path, { type: 'DESTROY' }).catch(() => undefined); // it may have ended by itself
    return 'destroyed';
  }
}

async function eachOf(ids: readonly string[], work: (id: string) => Promise<void>): Promise<void> {
  const queue = [...ids];
  const worker = async () => {
    for (let id = queue.pop(); id !== undefined; id = queue.pop()) await work(id);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

async function liveSandboxes(api: ApiClient): Promise<{ running: string[]; working: number }> {
  const running: string[] = [];
  let working = 0;
  let cursor: string | null | undefined;
  do {
    const query = cursor ? `&cursor=${encodeURIComponent(cursor)}` : '';
    const page = await api.call<{ items: { id: string; path: string }[]; next_cursor?: string | null }>(
      'GET',
      `/v1/actors?kind=sandbox&all=true&limit=100${query}`,
    );
    for (const { id, path } of page.items) {
      const [state = ''] = path.split(/[.+]/, 1);
      if (state === 'running') running.push(id);
      if (WORKING.includes(state)) working += 1;
    }
    cursor = page.next_cursor;
  } while (cursor);
  return { running, working };
}
