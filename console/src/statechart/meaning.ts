import type { StateData } from './machine-data.ts';

/** What a state asks of whoever looks at it. Shown by colour and, always, by an icon and a word. */
export type Meaning = 'rest' | 'working' | 'waiting' | 'trouble' | 'ended';

export const MEANING_WORDS: Readonly<Record<Meaning, string>> = {
  rest: 'at rest',
  working: 'working',
  waiting: 'waiting',
  trouble: 'trouble',
  ended: 'ended',
};

/** Words of the domain that say more than the tags `rest` and `work`. */
const TROUBLE = /^(error|missing|crashed|unreachable|expired|revoked|failed)$/;
const WAITING = /^(pending|queued|waiting|armed|placing|paused)$/;
const ENDED = /^(stopped|gone|deleted|succeeded|cancelled)$/;

export function meaningOf(state: Pick<StateData, 'key' | 'type' | 'tags' | 'entry'>): Meaning {
  if (TROUBLE.test(state.key)) return 'trouble';
  if (state.type === 'final') return 'ended';
  if (state.tags.includes('work')) {
    return WAITING.test(state.key) ? 'waiting' : 'working';
  }
  return WAITING.test(state.key) && !state.tags.includes('rest') ? 'waiting' : 'rest';
}

/** Of a status as REST has it, where there is no machine at hand. */
export function meaningOfStatus(status: string): Meaning {
  if (TROUBLE.test(status)) return 'trouble';
  if (ENDED.test(status)) return 'ended';
  if (/^(pending|queued)$/.test(status)) return 'waiting';
  return /ing$/.test(status) && status !== 'running' ? 'working' : 'rest';
}
