import { z } from 'zod';
import { decodeCursor, toPage } from '../http/page-cursor.ts';
import { badRequest } from '../http/problems.ts';
import { type Routes, route } from '../http/route.ts';
import { list, page, pageQuery } from '../http/schemas.ts';
import type { Services } from '../services.ts';
import { destroySandbox, patchBody, patchSandbox, pingSandbox } from './change-sandbox.ts';
import { createBody, createSandbox } from './create-sandbox.ts';
import { parseLabels } from './label-filter.ts';
import { noSuchSandbox } from './sandbox-errors.ts';
import { sandboxId } from './sandbox-id.ts';
import { sandboxObject, sandboxStatus } from './sandbox-object.ts';
import { listSandboxes, loadSandbox, withCommands } from './sandbox-store.ts';

const tag = 'Sandboxes';
const params = z.strictObject({ id: sandboxId });
const flag = z.enum(['true', 'false']).transform((value) => value === 'true');

const IDEMPOTENCY_KEY = /^[\x21-\x7e]{1,255}$/;
/** API1 without pause, resume and fork. */
export const sandboxRestRoutes: Routes = [
  route({
    method: 'POST',
    path: '/v1/sandboxes',
    auth: ['K', 'J'],
    tag,
    summary: 'Create a sandbox',
    description:
      'Answers when it is running, or with the reason why it is not; with `wait=false` as soon as it is accepted. ' +
      'The same `Idempotency-Key` with the same body gets the same answer and makes one sandbox.',
    query: z.strictObject({ wait: flag.default(true) }),
    body: createBody,
    bodyOptional: true,
    responses: { 201: { description: 'The sandbox', schema: sandboxObject } },
    handler: async ({ auth, body, query, headers, signal }, services) => {
      const idempotencyKey = headers.get('idempotency-key') ?? null;
      if (idempotencyKey !== null && !IDEMPOTENCY_KEY.test(idempotencyKey)) {
        throw badRequest('Idempotency-Key: must have 1 to 255 visible ASCII characters');
      }
      const id = await createSandbox(services, auth, body, { wait: query.wait, idempotencyKey, signal });
      return { status: 201, body: await mustLoad(services, auth.teamId, id) };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/sandboxes',
    auth: ['K', 'J'],
    tag,
    summary: 'Sandboxes of the team, newest first',
    description: 'Without `status` all but stopped ones.',
    query: z.strictObject({
      ...pageQuery,
      status: list(sandboxStatus).optional(),
      label: z
        .union([z.string(), z.array(z.string())])
        .optional()
        .meta({
          description: '`name=value`; repeated: all must match',
          override: { type: 'array', items: { type: 'string' } },
        }),
    }),
    responses: { 200: { description: 'A page', schema: page(sandboxObject) } },
    handler: async ({ auth, query }, services) => {
      const before = decodeCursor(query.cursor, 2) as [string, string] | null;
      if (before && Number.isNaN(Date.parse(before[0]))) throw badRequest('cursor: not one that was given out');
      const rows = await listSandboxes(services.sql, {
        teamId: auth.teamId,
        statuses: query.status ?? [],
        labels: parseLabels(query.label),
        before,
        limit: query.limit + 1,
      });
      const { items, next_cursor } = toPage(
        rows,
        query.limit,
        (row) => row,
        (row) => [row.created_at, row.id],
      );
      return { status: 200, body: { items: await withCommands(services, items), next_cursor } };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/sandboxes/{id}',
    auth: ['K', 'J'],
    tag,
    summary: 'One sandbox',
    params,
    responses: { 200: { description: 'The sandbox', schema: sandboxObject } },
    handler: async ({ auth, params: { id } }, services) => ({
      status: 200,
      body: await mustLoad(services, auth.teamId, id),
    }),
  }),
  route({
    method: 'PATCH',
    path: '/v1/sandboxes/{id}',
    auth: ['K', 'J'],
    tag,
    summary: 'Change labels, timeout, lifetime or ports of a live sandbox',
    params,
    body: patchBody,
    responses: { 200: { description: 'The sandbox', schema: sandboxObject } },
    handler: async ({ auth, params: { id }, body, signal }, services) => {
      await patchSandbox(services, { id, teamId: auth.teamId, cause: auth.cause, signal }, body);
      return { status: 200, body: await mustLoad(services, auth.teamId, id) };
    },
  }),
  route({
    method: 'DELETE',
    path: '/v1/sandboxes/{id}',
    auth: ['K', 'J'],
    tag,
    summary: 'Destroy a sandbox',
    description: 'Answers when nothing is left of it, or when its host is away and will do it on its return.',
    params,
    query: z.strictObject({ wait: flag.default(true) }),
    responses: { 204: { description: 'Destroyed' } },
    handler: async ({ auth, params: { id }, query, signal }, services) => {
      await destroySandbox(services, { id, teamId: auth.teamId, cause: auth.cause, signal }, query.wait);
      return { status: 204 };
    },
  }),
  route({
    method: 'POST',
    path: '/v1/sandboxes/{id}/ping',
    auth: ['K', 'J'],
    tag,
    summary: 'Count as activity: the idle timer starts anew (SN8)',
    params,
    responses: { 204: { description: 'Counted' } },
    handler: async ({ auth, params: { id }, signal }, services) => {
      await pingSandbox(services, { id, teamId: auth.teamId, cause: auth.cause, signal });
      return { status: 204 };
    },
  }),
];

async function mustLoad(services: Services, teamId: string, id: string) {
  const object = await loadSandbox(services, teamId, id);
  if (!object) throw noSuchSandbox();
  return object;
}
