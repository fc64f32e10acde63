import { z } from 'zod';
import { decodeCursor, toPage } from '../http/page-cursor.ts';
import { badRequest } from '../http/problems.ts';
import { type Routes, route } from '../http/route.ts';
import { list, page, pageQuery } from '../http/schemas.ts';
import type { Services } from '../services.ts';
import { destroySandbox, patchBody, patchSandbox, pauseSandbox, pingSandbox, resumeSandbox } from './change-sandbox.ts';
import { createBody, createSandbox } from './create-sandbox.ts';
import { forkBody, forkedItem, forkSandbox } from './fork-sandbox.ts';
import { idempotencyKey } from './idempotency.ts';
import { parseLabels } from './label-filter.ts';
import { noSuchSandbox } from './sandbox-errors.ts';
import { sandboxId } from './sandbox-id.ts';
import { sandboxObject, sandboxStatus } from './sandbox-object.ts';
import { listSandboxes, loadSandbox, withCommands } from './sandbox-store.ts';

const tag = 'Sandboxes';
const params = z.strictObject({ id: sandboxId });
const flag = z.enum(['true', 'false']).transform((value) => value === 'true');

/** API1. */
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
      const options = { wait: query.wait, idempotencyKey: idempotencyKey(headers), signal };
      const id = await createSandbox(services, auth, body, options);
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
    path: '/v1/sandboxes/{id}/pause',
    auth: ['K', 'J'],
    tag,
    summary: 'Freeze a running sandbox into files of its host, which holds nothing else of it then (SN1)',
    description:
      'Where that fails it runs on, and the error says why. The same `Idempotency-Key` gets the first answer.',
    params,
    responses: { 200: { description: 'The sandbox, paused', schema: sandboxObject } },
    handler: async ({ auth, params: { id }, headers, signal }, services) => {
      const target = { id, teamId: auth.teamId, cause: auth.cause, signal, idempotencyKey: idempotencyKey(headers) };
      await pauseSandbox(services, target);
      return { status: 200, body: await mustLoad(services, auth.teamId, id) };
    },
  }),
  route({
    method: 'POST',
    path: '/v1/sandboxes/{id}/resume',
    auth: ['K', 'J'],
    tag,
    summary: 'Let a paused sandbox run on where it stood',
    description:
      'Under the same id, with its processes, memory and files. 503 where its host has no room now: it stays paused. ' +
      'The same `Idempotency-Key` gets the first answer.',
    params,
    responses: { 200: { description: 'The sandbox, running', schema: sandboxObject } },
    handler: async ({ auth, params: { id }, headers, signal }, services) => {
      const target = { id, teamId: auth.teamId, cause: auth.cause, signal, idempotencyKey: idempotencyKey(headers) };
      await resumeSandbox(services, target);
      return { status: 200, body: await mustLoad(services, auth.teamId, id) };
    },
  }),
  route({
    method: 'POST',
    path: '/v1/sandboxes/{id}/fork',
    auth: ['K', 'J'],
    tag,
    summary: 'Start others from what a running or paused sandbox is at this moment (SN10)',
    description:
      'They have its memory, processes, files, labels and settings, and an id, host name and tokens of their own. It runs ' +
      'on after a short freeze. A result or an error for each; the same `Idempotency-Key` with the same body gets the ' +
      'first answer.',
    params,
    body: forkBody,
    bodyOptional: true,
    responses: { 201: { description: 'Each child', schema: z.object({ items: z.array(forkedItem) }) } },
    handler: async ({ auth, params: { id }, body, headers, signal }, services) => {
      const target = { id, teamId: auth.teamId, cause: auth.cause, signal, idempotencyKey: idempotencyKey(headers) };
      const createdBy = auth.kind === 'K' ? auth.keyId : auth.userId;
      const items = await forkSandbox(services, target, { count: body.count, createdBy });
      return { status: 201, body: { items } };
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
