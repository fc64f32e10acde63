import { queryOne } from '@wrenn/core';
import { z } from 'zod';
import type { Auth, AuthKind, HostAuth, KeyAuth, UserAuth } from '../http/auth.ts';
import type { Authorise } from '../http/prepare.ts';
import { badRequest, forbidden, unauthorized } from '../http/problems.ts';
import type { Services } from '../services.ts';
import { hashApiKey } from './api-key.ts';

/**
 * Who sends a request, and whether that is one of the kinds that its route takes. All that a token or key allows is read
 * from the database each time, so that whatever is revoked, removed or degraded counts at once (ID2, ID3).
 */
export const authorise: Authorise = async (headers, kinds, services) => {
  const auth = await authenticate(headers, kinds, services);
  if (auth) {
    if (auth.kind === 'J' && !kinds.includes('J') && !auth.isAdmin) {
      throw forbidden('Only a platform admin may do this.');
    }
    return auth;
  }
  if (kinds.includes('-')) return null;
  throw unauthorized(wanted(kinds));
};

async function authenticate(
  headers: ReadonlyMap<string, string>,
  kinds: readonly AuthKind[],
  services: Services,
): Promise<Auth | null> {
  if (kinds.every((kind) => kind === '-')) return null; // nobody is asked, nothing is looked at
  const apiKey = headers.get('x-api-key');
  const bearer = bearerToken(headers.get('authorization'));
  if (apiKey !== undefined && headers.has('authorization')) {
    throw badRequest('Send X-API-Key or Authorization, not both.');
  }
  if (apiKey !== undefined) return kinds.includes('K') ? await authenticateKey(apiKey, services) : null;
  if (bearer === null) return null;
  if (kinds.includes('J') || kinds.includes('A')) {
    const user = await authenticateUser(bearer, services);
    if (user) return user;
  }
  return kinds.includes('H') ? await authenticateHost(bearer, services) : null;
}

function bearerToken(header: string | undefined): string | null {
  return /^Bearer +([A-Za-z0-9._~+/=-]+)$/i.exec(header ?? '')?.[1] ?? null;
}

const keyRow = z.object({ id: z.string(), team_id: z.string(), name: z.string() });

async function authenticateKey(key: string, { sql, keyUsage }: Services): Promise<KeyAuth | null> {
  const hash = hashApiKey(key);
  if (!hash) return null;
  const row = await queryOne(
    sql,
    keyRow,
    `select k.id, k.team_id, k.name from api_keys k join teams t on t.id = k.team_id and t.deleted_at is null
      where k.hash = $1 and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())`,
    [hash],
  );
  if (!row) return null;
  keyUsage.used(row.id);
  const cause = { type: 'api_key', id: row.id, name: row.name } as const;
  return { kind: 'K', teamId: row.team_id, keyId: row.id, isAdmin: false, cause };
}

const userRow = z.object({ email: z.string(), is_admin: z.boolean(), role: z.enum(['owner', 'admin', 'member']) });

async function authenticateUser(token: string, { sql, tokens }: Services): Promise<UserAuth | null> {
  const claims = await tokens.verifyUser(token);
  if (!claims) return null;
  const { userId, sessionId, teamId } = claims;
  const row = await queryOne(
    sql,
    userRow,
    `select u.email, u.is_admin, m.role
       from sessions s
       join users u on u.id = s.user_id
       join team_members m on m.user_id = u.id and m.team_id = $3
       join teams t on t.id = m.team_id and t.deleted_at is null
      where s.id = $1 and s.user_id = $2 and s.revoked_at is null and s.expires_at > now()`,
    [sessionId, userId, teamId],
  );
  if (!row) return null;
  const cause = { type: 'user', id: userId, name: row.email } as const;
  return { kind: 'J', teamId, userId, role: row.role, sessionId, isAdmin: row.is_admin, cause };
}

const hostRow = z.object({ team_id: z.string().nullable() });

async function authenticateHost(token: string, { sql, tokens }: Services): Promise<HostAuth | null> {
  const claims = await tokens.verifyHost(token);
  if (!claims) return null;
  const row = await queryOne(
    sql,
    hostRow,
    `select h.team_id from host_credentials c join hosts h on h.id = c.host_id and h.status <> 'deleted'
      where c.host_id = $1 and c.family = $2 and c.revoked_at is null`,
    [claims.hostId, claims.family],
  );
  if (!row) return null;
  const cause = { type: 'host', id: claims.hostId } as const;
  return { kind: 'H', teamId: row.team_id, hostId: claims.hostId, isAdmin: false, cause };
}

/** Says what to send; the same whatever was wrong with what was sent. */
function wanted(kinds: readonly AuthKind[]): string {
  const ways = [
    ...(kinds.includes('K') ? ['a valid API key (X-API-Key)'] : []),
    ...(kinds.includes('J') || kinds.includes('A') ? ['a valid user token (Authorization: Bearer)'] : []),
    ...(kinds.includes('H') ? ['a valid host token (Authorization: Bearer)'] : []),
  ];
  return `Send ${ways.join(' or ')}.`;
}
