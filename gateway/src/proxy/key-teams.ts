import { queryOne } from '@wrenn/core';
import type { Pool } from 'pg';
import { z } from 'zod';
import { hashApiKey } from '../identity/api-key.ts';
import type { KeyUsage } from '../identity/key-usage.ts';

/**
 * A key that opened a port is asked about again after this time: proxied traffic makes no query per request, and a
 * revoked key opens ports for at most so long.
 */
const TRUST_MS = 1_000;
/** Wrong keys are remembered as well, so that guessing costs no query each; that must not fill the memory. */
const MAX_KEYS = 10_000;

interface Known {
  readonly team: Promise<string | null>;
  readonly until: number;
}

/** Which team a key is of, for the data path. */
export class KeyTeams {
  readonly #sql: Pool;
  readonly #usage: KeyUsage;
  readonly #known = new Map<string, Known>();

  constructor(sql: Pool, usage: KeyUsage) {
    this.#sql = sql;
    this.#usage = usage;
  }

  /** Null: no valid key. */
  teamOf(key: string): Promise<string | null> {
    const now = performance.now();
    const known = this.#known.get(key);
    if (known && known.until > now) return known.team;
    if (this.#known.size >= MAX_KEYS) this.#known.clear();
    const team = this.#load(key);
    this.#known.set(key, { team, until: now + TRUST_MS });
    team.catch(() => this.#known.delete(key));
    return team;
  }

  /** For how long what is known of a key may still be trusted; undefined: it was not asked about. */
  trustedMs(key: string): number | undefined {
    const until = this.#known.get(key)?.until;
    return until === undefined ? undefined : Math.max(0, Math.floor(until - performance.now()));
  }

  async #load(key: string): Promise<string | null> {
    const hash = hashApiKey(key);
    if (!hash) return null;
    const row = await queryOne(
      this.#sql,
      z.object({ id: z.string(), team_id: z.string() }),
      `select k.id, k.team_id from api_keys k join teams t on t.id = k.team_id and t.deleted_at is null
        where k.hash = $1 and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())`,
      [hash],
    );
    if (!row) return null;
    this.#usage.used(row.id);
    return row.team_id;
  }
}
