import type { SandboxPatch, SandboxPing } from '@wrenn/actors';
import { z } from 'zod';
import { fromAgent } from '../agents/agent-error.ts';
import { decodeCursor, toPage } from '../http/page-cursor.ts';
import { badRequest } from '../http/problems.ts';
import { type Routes, route } from '../http/route.ts';
import { list, page, pageQuery } from '../http/schemas.ts';
import type { Services } from '../services.ts';
import { createBody, createSandbox } from './create-sandbox.ts';
import { answered } from './sandbox-commands.ts';
import { noSuchSandbox } from './sandbox-errors.ts';
import * as fields from './sandbox-fields.ts';
import { sandboxId } from './sandbox-id.ts';
import { sandboxObject, sandboxStatus } from './sandbox-object.ts';
import { findSandbox, listSandboxes, loadSandbox, withCommands } from './sandbox-store.ts';

const tag = 'Sandboxes';
const params = z.strictObject({ id: sandboxId });
const flag = z.enum(['true', 'false']).transform((value) => value === 'true');

const patchBody = z
  .strictObject({
    labels: fields.labels.optional().meta({ description: 'Replaces all labels' }),
    timeout_sec: fields.timeoutSec.optional(),
    on_timeout: fields.onTimeout.optional(),
    ends_at: fields.endsAt.nullable().optional(),
    on_end: fields.onEnd.optional(),
    public_ports: fields.publicPorts.optional(),
    auto_resume: z.boolean().optional(),
  })
  .refine((body) => Object.keys(body).length > 0, 'must name at least one field')
  .meta({ id: 'PatchSandbox' });

const IDEMPOTENCY_KEY = /^[\x21-\x7e]{1,255}$/;
/** A ping that the host does not confirm in this time has not kept the sandbox awake. */
const PING_TIMEOUT_MS = 5_000;

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
      await mustFind(services, auth.teamId, id);
      const { ends_at, ...rest } = body;
      const event = {
        type: 'PATCH',
        ...rest,
        ...(ends_at !== undefined && { ends_at: ends_at === null ? null : Date.parse(ends_at) }),
      } as SandboxPatch;
      answered(await services.runtime.ask({ kind: 'sandbox', id }, event, { cause: auth.cause, signal }));
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
      await mustFind(services, auth.teamId, id);
      const event = { type: 'DESTROY', wait: query.wait } as const;
      answered(await services.runtime.ask({ kind: 'sandbox', id }, event, { cause: auth.cause, signal }));
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
      const { host_id } = await mustFind(services, auth.teamId, id);
      const event: SandboxPing = { type: 'PING' };
      answered(await services.runtime.ask({ kind: 'sandbox', id }, event, { cause: auth.cause, signal }));
      if (host_id !== null) await pingHost(services, host_id, id, signal);
      return { status: 204 };
    },
  }),
];

async function mustFind(services: Services, teamId: string, id: string) {
  const row = await findSandbox(services, teamId, id);
  if (!row) throw noSuchSandbox();
  return row;
}

async function mustLoad(services: Services, teamId: string, id: string) {
  const object = await loadSandbox(services, teamId, id);
  if (!object) throw noSuchSandbox();
  return object;
}

/** The agent decides about idleness, so it must hear of the ping, too. */
async function pingHost({ agents }: Services, hostId: string, sandboxId: string, signal: AbortSignal): Promise<void> {
  try {
    const agent = await agents.connect(hostId);
    await agent.rpc.pingSandbox({ sandboxId }, { signal, timeoutMs: PING_TIMEOUT_MS });
  } catch (error) {
    throw fromAgent(error);
  }
}

function parseLabels(given: string | string[] | undefined): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const text of given === undefined ? [] : [given].flat()) {
    const at = text.indexOf('=');
    if (at < 1) throw badRequest('label: must be name=value');
    labels[text.slice(0, at)] = text.slice(at + 1);
  }
  return labels;
}
