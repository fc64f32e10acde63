import { queryOne, WrennError } from '@wrenn/core';
import type { Pool } from 'pg';
import { z } from 'zod';
import { newId } from './ids.ts';
import { passwordMatches } from './password.ts';
import { type Tokens, USER_TOKEN_SECONDS } from './tokens.ts';

export interface SignedIn {
  readonly token: string;
  readonly expiresAt: Date;
}

const accountRow = z.object({ id: z.string(), password_hash: z.string().nullable() });

/** The user with this mail and password. Wrong mail and wrong password are one error after the same work (ID1). */
export async function checkPassword(sql: Pool, email: string, password: string): Promise<string> {
  const account = await queryOne(
    sql,
    accountRow,
    'select id, password_hash from users where lower(email) = lower($1)',
    [email],
  );
  const matches = await passwordMatches(account?.password_hash ?? null, password);
  if (!account || !matches) throw new WrennError('unauthorized', 'Mail address or password is wrong.');
  return account.id;
}

const teamRow = z.object({ team_id: z.string() });

/** Where a person lands after signing in: his default team, else the one he has longest. */
export async function landingTeam(sql: Pool, userId: string): Promise<string> {
  const row = await queryOne(
    sql,
    teamRow,
    `select m.team_id from team_members m join teams t on t.id = m.team_id and t.deleted_at is null
      where m.user_id = $1 order by m.is_default desc, m.created_at, m.team_id limit 1`,
    [userId],
  );
  if (!row) throw new WrennError('forbidden', 'You are in no team.');
  return row.team_id;
}

/** A session row and its token. Logging out ends the session, whatever tokens it has. */
export async function openSession(sql: Pool, tokens: Tokens, userId: string, teamId: string): Promise<SignedIn> {
  const sessionId = newId('ses');
  const expiresAt = inSeconds(USER_TOKEN_SECONDS);
  await sql.query('insert into sessions (id, user_id, expires_at) values ($1, $2, $3)', [sessionId, userId, expiresAt]);
  await forgetExpired(sql, userId);
  return { token: await tokens.signUser({ userId, sessionId, teamId }, expiresAt), expiresAt };
}

export async function revokeSession(sql: Pool, sessionId: string): Promise<void> {
  await sql.query('update sessions set revoked_at = now() where id = $1 and revoked_at is null', [sessionId]);
}

/** Each sign-in sweeps the person's own dead sessions: the table grows with people, not with time. */
async function forgetExpired(sql: Pool, userId: string): Promise<void> {
  await sql.query(`delete from sessions where user_id = $1 and expires_at < now() - interval '1 day'`, [userId]);
}

export function inSeconds(seconds: number): Date {
  return new Date(Date.now() + seconds * 1_000);
}
