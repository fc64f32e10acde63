import { ApiError } from './api.ts';

/** What to do next, by the code of an error. */
const ADVICE: Readonly<Record<string, string>> = {
  unreachable: 'See whether it runs (`make up`) and whether this machine has a network, then try again.',
  forbidden: 'Ask an owner of the team, or sign in as somebody who may.',
  not_found: 'It may belong to another team, or be gone. Look at the list.',
  no_hosts_available: 'No host has room. Destroy a capsule, choose a smaller one, or add a host.',
  illegal_command: 'It has moved on meanwhile. Look at its state, then choose again.',
  rate_limited: 'Wait a minute, then try again.',
  host_unreachable: 'Its host is away. It comes back by itself when the host does.',
  not_running: 'Start or resume it first.',
};

export interface Explained {
  readonly message: string;
  readonly advice: string | null;
}

/** An error in words, with what to do next. */
export function explain(error: unknown): Explained {
  if (error instanceof ApiError) {
    const advice = ADVICE[error.code] ?? (error.status >= 500 ? 'Try again; if it stays, look at the log.' : null);
    return { message: sentence(error.message), advice };
  }
  return { message: sentence(error instanceof Error ? error.message : String(error)), advice: null };
}

function sentence(text: string): string {
  const trimmed = text.trim();
  const capital = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?]$/.test(capital) ? capital : `${capital}.`;
}
