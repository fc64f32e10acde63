import { createHmac, randomBytes } from 'node:crypto';
import type { HostCredentials } from '@wrenn/actors';
import { type Queryable, queryOne, WrennError } from '@wrenn/core';
import { z } from 'zod';
import { sha256 } from '../identity/api-key.ts';
import { HOST_TOKEN_SECONDS, type Tokens } from '../identity/tokens.ts';

const REFRESH_TOKEN_SECONDS = 60 * 86_400;
/** A host renews when two thirds of its token's time are over: days before it expires (H2). */
const RENEW_AFTER_SECONDS = Math.floor((HOST_TOKEN_SECONDS * 2) / 3);
/** A renewal whose answer was lost may be asked again with the same idempotency key for so long. */
const RETRY_WINDOW_SECONDS = 600;

/** What register and refresh answer (contracts: Registration). Certificate fields are null without a CA. */
export interface IssuedCredentials {
  readonly host_id: string;
  readonly jwt: string;
  readonly jwt_expires_at: string;
  readonly renew_at: string;
  readonly refresh_token: string;
  readonly cert_pem: null;
  readonly ca_cert_pem: null;
  readonly control_plane_secret: string;
}

export interface Issued {
  readonly answer: IssuedCredentials;
  /** What the host's actor keeps of it. */
  readonly facts: HostCredentials;
}

/** A registration that may be asked again: its one-time token, and the host's idempotency key. */
export interface TokenUse {
  readonly token: string;
  readonly key: string;
}

/**
 * New credentials for a host that registers: whatever it or another machine had in its name before is worthless. The
 * same use of a token asked again is given the same, while they are those of the host and were never renewed; after
 * that it throws `invalid_token`. The caller has locked the host.
 */
export async function registerCredentials(
  tx: Queryable,
  tokens: Tokens,
  serverSecret: string,
  hostId: string,
  use: TokenUse | null,
): Promise<Issued> {
  // Derived, so that an earlier request that comes late does not put out what a later one was given.
  const draw = (what: string): string =>
    use === null
      ? randomBytes(32).toString('hex')
      : createHmac('sha256', serverSecret).update(what).update(sha256(use.token)).update(sha256(use.key)).digest('hex');
  const family = draw('family').slice(0, 32);
  const secret = draw('control plane secret');
  const refreshToken = draw('refresh token');
  const host = { hostId, family, secret };
  const given = await queryOne(
    tx,
    z.object({ good: z.boolean() }),
    `select t.revoked_at is null and c.family = t.family and c.revoked_at is null as good
       from host_refresh_tokens t join host_credentials c on c.host_id = t.host_id where t.hash = $1`,
    [sha256(refreshToken)],
  );
  if (given?.good) return await answerFor(tokens, host, refreshToken);
  if (given) throw invalidToken();
  await tx.query(
    `insert into host_credentials (host_id, family, control_plane_secret) values ($1, $2, $3)
     on conflict (host_id) do update set family = excluded.family, control_plane_secret = excluded.control_plane_secret,
       created_at = now(), revoked_at = null`,
    [hostId, family, secret],
  );
  await tx.query('update host_refresh_tokens set revoked_at = now() where host_id = $1 and revoked_at is null', [
    hostId,
  ]);
  return await issue(tx, tokens, host, refreshToken);
}

const tokenRow = z.object({
  host_id: z.string(),
  family: z.string(),
  control_plane_secret: z.string(),
  current: z.boolean(),
  expired: z.boolean(),
  revoked: z.boolean(),
  rotation_key: z.instanceof(Buffer).nullable(),
  retryable: z.boolean(),
});

/** `reused`: a token that was rotated out is shown again, so that one of its two holders stole it. */
export type Refreshed =
  | { readonly outcome: 'issued'; readonly hostId: string; readonly issued: Issued }
  | { readonly outcome: 'reused'; readonly hostId: string };

/**
 * H2: a new pair for a good refresh token; the new one is issued first, then the old one revoked. Throws `invalid_token`
 * for anything else, except reuse, which the caller must record. `retryKey`: the caller's idempotency key, or null.
 */
export async function refreshCredentials(
  tx: Queryable,
  tokens: Tokens,
  secret: string,
  refreshToken: string,
  retryKey: string | null,
): Promise<Refreshed> {
  const hash = sha256(refreshToken);
  const row = await queryOne(
    tx,
    tokenRow,
    `select t.host_id, t.family, c.control_plane_secret, t.rotation_key,
            c.family = t.family and c.revoked_at is null and h.status <> 'deleted' as current,
            t.expires_at <= now() as expired, t.revoked_at is not null as revoked,
            coalesce(t.revoked_at > now() - make_interval(secs => $2), false) as retryable
       from host_refresh_tokens t
       join host_credentials c on c.host_id = t.host_id
       join hosts h on h.id = t.host_id
      where t.hash = $1 for update of t, c`,
    [hash, RETRY_WINDOW_SECONDS],
  );
  if (!row?.current || row.expired) throw invalidToken();
  const rotationKey = retryKey === null ? null : sha256(retryKey);
  // Derived, so that the same renewal asked again gets the same token although it is stored nowhere.
  const next =
    rotationKey === null
      ? randomBytes(32).toString('hex')
      : createHmac('sha256', secret).update(hash).update(rotationKey).digest('hex');
  const host = { hostId: row.host_id, family: row.family, secret: row.control_plane_secret };
  if (row.revoked) {
    const sameRequest = rotationKey !== null && row.rotation_key?.equals(rotationKey) && row.retryable;
    if (!sameRequest || !(await isUnused(tx, next))) return { outcome: 'reused', hostId: row.host_id };
    return { outcome: 'issued', hostId: row.host_id, issued: await answerFor(tokens, host, next) };
  }
  const issued = await issue(tx, tokens, host, next);
  await tx.query('update host_refresh_tokens set revoked_at = now(), rotation_key = $2 where hash = $1', [
    hash,
    rotationKey,
  ]);
  return { outcome: 'issued', hostId: row.host_id, issued };
}

/** Nothing that this host holds is good any longer; it must register again. */
export async function revokeCredentials(tx: Queryable, hostId: string): Promise<void> {
  await tx.query('update host_credentials set revoked_at = now() where host_id = $1 and revoked_at is null', [hostId]);
  await tx.query('update host_refresh_tokens set revoked_at = now() where host_id = $1 and revoked_at is null', [
    hostId,
  ]);
}

export function invalidToken(): WrennError {
  return new WrennError('invalid_token', 'The token is not good (any more).');
}

interface Host {
  readonly hostId: string;
  readonly family: string;
  readonly secret: string;
}

async function issue(tx: Queryable, tokens: Tokens, host: Host, refreshToken: string): Promise<Issued> {
  await tx.query(
    `insert into host_refresh_tokens (hash, host_id, family, expires_at)
     values ($1, $2, $3, now() + make_interval(secs => $4))`,
    [sha256(refreshToken), host.hostId, host.family, REFRESH_TOKEN_SECONDS],
  );
  return await answerFor(tokens, host, refreshToken);
}

async function isUnused(tx: Queryable, refreshToken: string): Promise<boolean> {
  const unused = z.object({ hash: z.unknown() });
  const sql = 'select hash from host_refresh_tokens where hash = $1 and revoked_at is null';
  return (await queryOne(tx, unused, sql, [sha256(refreshToken)])) !== null;
}

async function answerFor(tokens: Tokens, { hostId, family, secret }: Host, refreshToken: string): Promise<Issued> {
  const now = Date.now();
  const jwtExpiresAt = new Date(now + HOST_TOKEN_SECONDS * 1_000);
  const renewAt = now + RENEW_AFTER_SECONDS * 1_000;
  return {
    answer: {
      host_id: hostId,
      jwt: await tokens.signHost({ hostId, family }, jwtExpiresAt),
      jwt_expires_at: jwtExpiresAt.toISOString(),
      renew_at: new Date(renewAt).toISOString(),
      refresh_token: refreshToken,
      cert_pem: null,
      ca_cert_pem: null,
      control_plane_secret: secret,
    },
    facts: {
      renew_at: renewAt,
      expires_at: now + REFRESH_TOKEN_SECONDS * 1_000,
      cert_fingerprint: null,
      cert_expires_at: null,
    },
  };
}
