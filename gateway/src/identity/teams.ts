import { type Queryable, query, queryOne } from '@wrenn/core';
import { z } from 'zod';
import { newId } from './ids.ts';

export const teamRow = z.object({
  id: z.string(),
  name: z.string(),
  is_byoc: z.boolean(),
  role: z.enum(['owner', 'admin', 'member']),
  created_at: z.date(),
});
export type TeamRow = z.output<typeof teamRow>;

const TEAM_COLUMNS = 't.id, t.name, t.is_byoc, m.role, t.created_at';
const OF_MEMBER = 'from teams t join team_members m on m.team_id = t.id where t.deleted_at is null and m.user_id = $1';

export function listTeams(sql: Queryable, userId: string): Promise<TeamRow[]> {
  return query(sql, teamRow, `select ${TEAM_COLUMNS} ${OF_MEMBER} order by t.created_at, t.id`, [userId]);
}

/** Null where it is not there, or the person is not in it. */
export function findTeam(sql: Queryable, userId: string, teamId: string): Promise<TeamRow | null> {
  return queryOne(sql, teamRow, `select ${TEAM_COLUMNS} ${OF_MEMBER} and t.id = $2`, [userId, teamId]);
}

export async function insertTeam(tx: Queryable, ownerId: string, name: string): Promise<string> {
  const id = newId('team');
  await tx.query('insert into teams (id, name) values ($1, $2)', [id, name]);
  await tx.query(`insert into team_members (team_id, user_id, role) values ($1, $2, 'owner')`, [id, ownerId]);
  return id;
}

export async function renameTeam(tx: Queryable, teamId: string, name: string): Promise<void> {
  await tx.query('update teams set name = $2 where id = $1', [teamId, name]);
}

export const memberRow = z.object({
  user_id: z.string(),
  email: z.string(),
  name: z.string(),
  role: z.enum(['owner', 'admin', 'member']),
  created_at: z.date(),
});

export function listMembers(sql: Queryable, teamId: string): Promise<z.output<typeof memberRow>[]> {
  return query(
    sql,
    memberRow,
    `select m.user_id, u.email, u.name, m.role, m.created_at
       from team_members m join users u on u.id = m.user_id
      where m.team_id = $1 order by m.created_at, m.user_id`,
    [teamId],
  );
}
