import { z } from 'zod';
import { recordAudit } from '../audit/record.ts';
import { decodeCursor, toPage } from '../http/page-cursor.ts';
import { badRequest, forbidden, notFound } from '../http/problems.ts';
import { type Routes, route } from '../http/route.ts';
import { id, line, page, pageQuery, timestamp } from '../http/schemas.ts';
import { inTransaction } from '../transaction.ts';
import { generateApiKey } from './api-key.ts';
import { newId } from './ids.ts';
import { findKey, insertKey, listKeys, revokeKey } from './keys.ts';
import { apiKey, keyJson } from './schemas.ts';

const tag = 'API keys';

/** API7's keys (ID3). They belong to the team of the token, act as that team, and are shown once. */
export const keyRoutes: Routes = [
  route({
    method: 'POST',
    path: '/v1/api-keys',
    auth: ['J'],
    tag,
    summary: 'Make a key',
    body: z.strictObject({ name: line(100), expires_at: timestamp.optional() }),
    responses: {
      201: {
        description: 'The key itself is in this answer and never again',
        schema: apiKey.extend({ key: z.string() }).meta({ id: 'NewApiKey' }),
      },
    },
    handler: async ({ auth, body }, { sql }) => {
      if (body.expires_at !== undefined && Date.parse(body.expires_at) <= Date.now()) {
        throw badRequest('expires_at: must be in the future');
      }
      const { key, hash, prefix } = generateApiKey();
      const row = await inTransaction(sql, async (tx) => {
        const inserted = await insertKey(tx, {
          id: newId('key'),
          teamId: auth.teamId,
          name: body.name,
          hash,
          prefix,
          createdBy: auth.userId,
          expiresAt: body.expires_at ?? null,
        });
        await recordAudit(tx, { ...keyAudit(auth, inserted), action: 'key.create' });
        return inserted;
      });
      return { status: 201, body: { ...keyJson(row), key } };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/api-keys',
    auth: ['J'],
    tag,
    summary: 'Keys of the team, newest first',
    query: z.strictObject(pageQuery),
    responses: { 200: { description: 'A page', schema: page(apiKey) } },
    handler: async ({ auth, query }, { sql }) => {
      const before = decodeCursor(query.cursor, 2) as [string, string] | null;
      if (before && Number.isNaN(Date.parse(before[0]))) throw badRequest('cursor: not one that was given out');
      const rows = await listKeys(sql, auth.teamId, { before, limit: query.limit + 1 });
      const body = toPage(rows, query.limit, keyJson, (row) => [row.created_at.toISOString(), row.id]);
      return { status: 200, body };
    },
  }),
  route({
    method: 'DELETE',
    path: '/v1/api-keys/{id}',
    auth: ['J'],
    tag,
    summary: 'Revoke a key; it is refused from now on',
    params: z.strictObject({ id: id('key') }),
    responses: { 204: { description: 'Revoked' } },
    handler: async ({ auth, params }, { sql }) => {
      await inTransaction(sql, async (tx) => {
        const row = await findKey(tx, auth.teamId, params.id);
        if (!row) throw notFound('No such key.');
        if (auth.role === 'member' && row.created_by !== auth.userId) {
          throw forbidden('Members may revoke only the keys that they made.');
        }
        await revokeKey(tx, row.id);
        await recordAudit(tx, { ...keyAudit(auth, row), action: 'key.revoke' });
      });
      return { status: 204 };
    },
  }),
];

function keyAudit(
  auth: { teamId: string; cause: import('@wrenn/core').Cause },
  key: { id: string; name: string; prefix: string },
) {
  return {
    teamId: auth.teamId,
    scope: 'team',
    cause: auth.cause,
    resourceType: 'api_key',
    resourceId: key.id,
    status: 'success',
    metadata: { name: key.name, prefix: key.prefix },
  } as const;
}
