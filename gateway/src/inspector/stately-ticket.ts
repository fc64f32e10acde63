import { queryOne } from '@wrenn/core';
import { errors, jwtVerify, SignJWT } from 'jose';
import { z } from 'zod';
import type { KeyAuth, UserAuth } from '../http/auth.ts';
import { unauthorized } from '../http/problems.ts';
import { authorise } from '../identity/authorise.ts';
import type { Services } from '../services.ts';

/** Outside viewers open an address and can set no header: a ticket in it is worth this one socket, for so long. */
const TICKET_SECONDS = 3_600;
const ISSUER = 'wrenn';
/** Keeps tickets apart from the tokens of people and hosts, which are signed with the same secret. */
const AUDIENCE = 'wrenn:stately';

const claims = z.object({
  sub: z.string(),
  kind: z.enum(['K', 'J']),
  team: z.string(),
  user: z.string().optional(),
});

export interface Ticket {
  readonly ticket: string;
  readonly expiresAt: Date;
}

/** A ticket that stands for the caller's key or session, and is worth nothing once that is revoked. */
export async function issueTicket({ config }: Services, auth: KeyAuth | UserAuth): Promise<Ticket> {
  const expiresAt = new Date(Date.now() + TICKET_SECONDS * 1_000);
  const named = auth.kind === 'K' ? { sub: auth.keyId } : { sub: auth.sessionId, user: auth.userId };
  const { sub, ...rest } = { kind: auth.kind, team: auth.teamId, ...named };
  const ticket = await new SignJWT(rest)
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .setIssuer(ISSUER)
    .setAudience(AUDIENCE)
    .setSubject(sub)
    .setExpirationTime(expiresAt)
    .sign(keyOf(config.JWT_SECRET));
  return { ticket, expiresAt };
}

/** Who the ticket stands for; 401 for anything that is none, or no more. */
export async function redeemTicket(services: Services, ticket: string): Promise<KeyAuth | UserAuth> {
  const said = await read(services, ticket);
  const auth = said?.kind === 'K' ? await keyAuth(services, said.sub) : said && (await userAuth(services, said));
  if (!auth) throw unauthorized('Send a valid ticket, key or token.');
  return auth;
}

type Claims = z.output<typeof claims>;

async function read({ config }: Services, ticket: string): Promise<Claims | null> {
  try {
    const options = { algorithms: ['HS256'], issuer: ISSUER, audience: AUDIENCE };
    const { payload } = await jwtVerify(ticket, keyOf(config.JWT_SECRET), options);
    return claims.parse(payload);
  } catch (error) {
    if (error instanceof errors.JOSEError || error instanceof z.ZodError) return null;
    throw error;
  }
}

const keyRow = z.object({ id: z.string(), team_id: z.string(), name: z.string() });

async function keyAuth({ sql }: Services, keyId: string): Promise<KeyAuth | null> {
  const row = await queryOne(
    sql,
    keyRow,
    `select k.id, k.team_id, k.name from api_keys k join teams t on t.id = k.team_id and t.deleted_at is null
      where k.id = $1 and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())`,
    [keyId],
  );
  if (!row) return null;
  const cause = { type: 'api_key', id: row.id, name: row.name } as const;
  return { kind: 'K', teamId: row.team_id, keyId: row.id, isAdmin: false, cause };
}

/** By way of a token of a moment, so that session, membership and admin flag are read as for every request. */
async function userAuth(services: Services, { sub, team, user = '' }: Claims): Promise<UserAuth | null> {
  const soon = new Date(Date.now() + 60_000);
  const token = await services.tokens.signUser({ userId: user, sessionId: sub, teamId: team }, soon);
  const auth = await authorise(new Map([['authorization', `Bearer ${token}`]]), ['J', '-'], services);
  return auth?.kind === 'J' ? auth : null;
}

const keyOf = (secret: string): Uint8Array => new TextEncoder().encode(secret);
