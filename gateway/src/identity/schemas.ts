import { z } from 'zod';
import { id, line, timestamp } from '../http/schemas.ts';
import type { KeyRow } from './keys.ts';
import type { TeamRow } from './teams.ts';
import type { UserRow } from './users.ts';

const role = z.enum(['owner', 'admin', 'member']);

export const email = z.email().max(254);
/** The upper limit keeps the hash function's work bounded. */
export const password = z.string().min(8, 'must have at least 8 characters').max(1_024);

export const user = z
  .object({ id: id('usr'), email: z.string(), name: z.string(), is_admin: z.boolean(), created_at: timestamp })
  .meta({ id: 'User' });

export const team = z
  .object({ id: id('team'), name: z.string(), role, is_byoc: z.boolean(), created_at: timestamp })
  .meta({ id: 'Team' });

export const member = z
  .object({ user_id: id('usr'), email: z.string(), name: z.string(), role, joined_at: timestamp })
  .meta({ id: 'Member' });

export const apiKey = z
  .object({
    id: id('key'),
    name: z.string(),
    prefix: z.string().meta({ description: 'Its first characters, to recognise it by' }),
    created_by: z.string(),
    created_at: timestamp,
    expires_at: timestamp.nullable(),
    last_used_at: timestamp.nullable().meta({ description: 'May be some seconds behind' }),
  })
  .meta({ id: 'ApiKey' });

export const signedIn = z
  .object({
    token: z.string().meta({ description: 'For `Authorization: Bearer`; good for 6 hours' }),
    expires_at: timestamp,
    user,
    team,
  })
  .meta({ id: 'SignedIn' });

export const teamName = line(100);

export function userJson(row: UserRow) {
  return { ...row, created_at: row.created_at.toISOString() };
}

export function teamJson(row: TeamRow) {
  return { ...row, created_at: row.created_at.toISOString() };
}

export function keyJson(row: KeyRow) {
  return {
    ...row,
    created_at: row.created_at.toISOString(),
    expires_at: row.expires_at?.toISOString() ?? null,
    last_used_at: row.last_used_at?.toISOString() ?? null,
  };
}
