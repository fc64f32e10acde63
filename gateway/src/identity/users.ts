import { type Queryable, queryOne } from '@wrenn/core';
import { z } from 'zod';

export const userRow = z.object({
  id: z.string(),
  email: z.string(),
  name: z.string(),
  is_admin: z.boolean(),
  created_at: z.date(),
});
export type UserRow = z.output<typeof userRow>;

export async function readUser(sql: Queryable, userId: string): Promise<UserRow> {
  const row = await queryOne(sql, userRow, 'select id, email, name, is_admin, created_at from users where id = $1', [
    userId,
  ]);
  if (!row) throw new Error(`user ${userId} is gone`); // users are never deleted
  return row;
}
