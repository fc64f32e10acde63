import { type Queryable, WrennError } from '@wrenn/core';
import type { Pool } from 'pg';
import { recordAudit } from '../audit/record.ts';
import { inTransaction, violatedUnique } from '../transaction.ts';
import { newId } from './ids.ts';
import { hashPassword } from './password.ts';

export interface NewUser {
  readonly email: string;
  readonly password: string;
  readonly name?: string | undefined;
}

/** Any constant: sign-ups of all replicas pass one by one, so that exactly one user is the first. */
const SIGNUP_LOCK = 0x7369676e;

/**
 * ID1: user, default team and ownership in one transaction. The first user of an installation is platform admin.
 * Throws `email_taken`; of two that race for one mail exactly one succeeds.
 */
export async function signUp(sql: Pool, user: NewUser): Promise<{ userId: string; teamId: string }> {
  const passwordHash = await hashPassword(user.password); // slow, so before the lock
  const name = user.name ?? (user.email.split('@', 1)[0] as string);
  try {
    return await inTransaction(sql, async (tx) => {
      await tx.query('select pg_advisory_xact_lock($1)', [SIGNUP_LOCK]);
      return await insertUser(tx, { email: user.email, name, passwordHash });
    });
  } catch (error) {
    if (violatedUnique(error) !== 'users_by_email') throw error;
    throw new WrennError('email_taken', 'An account with this mail address is there already.');
  }
}

async function insertUser(
  tx: Queryable,
  { email, name, passwordHash }: { email: string; name: string; passwordHash: string | null },
): Promise<{ userId: string; teamId: string }> {
  const userId = newId('usr');
  const teamId = newId('team');
  await tx.query(
    `insert into users (id, email, name, password_hash, is_admin)
     values ($1, $2, $3, $4, not exists (select from users))`,
    [userId, email, name, passwordHash],
  );
  await tx.query('insert into teams (id, name) values ($1, $2)', [teamId, `${name}'s team`]);
  await tx.query(`insert into team_members (team_id, user_id, role, is_default) values ($1, $2, 'owner', true)`, [
    teamId,
    userId,
  ]);
  await recordAudit(tx, {
    teamId,
    scope: 'team',
    cause: { type: 'user', id: userId, name: email },
    resourceType: 'team',
    resourceId: teamId,
    action: 'team.create',
    status: 'success',
    metadata: { name: `${name}'s team` },
  });
  return { userId, teamId };
}
