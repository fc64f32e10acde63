import type { components } from '@wrenn/sdk/openapi';
import { api, ok } from '../lib/api.ts';

export type TeamNumbers = components['schemas']['TeamStats'];
export type StatsRange = TeamNumbers['range'];
export const STATS_RANGES = ['5m', '1h', '6h', '24h', '30d'] as const satisfies readonly StatsRange[];

/** Seconds between two readings: a longer range moves more slowly. */
const REFRESH_SEC: Readonly<Record<StatsRange, number>> = { '5m': 15, '1h': 30, '6h': 60, '24h': 120, '30d': 300 };

/** What the team has and had; read again, without a sign, while the page is seen. */
export class TeamStats {
  numbers = $state.raw<TeamNumbers | null>(null);
  error = $state.raw<unknown>(null);

  /** Shows a range until the function that is returned is called. */
  show(range: StatsRange): () => void {
    let shown = true;
    const read = async () => {
      if (document.hidden) return;
      try {
        const numbers = await ok(api.GET('/v1/sandboxes/stats', { params: { query: { range } } }));
        if (!shown) return;
        this.numbers = numbers;
        this.error = null;
      } catch (error) {
        if (shown) this.error = error;
      }
    };
    const timer = setInterval(read, REFRESH_SEC[range] * 1_000);
    document.addEventListener('visibilitychange', read);
    read();
    return () => {
      shown = false;
      clearInterval(timer);
      document.removeEventListener('visibilitychange', read);
    };
  }
}
