import { z } from 'zod';
import { decodeCursor, toPage } from '../http/page-cursor.ts';
import { badRequest } from '../http/problems.ts';
import { type Routes, route } from '../http/route.ts';
import type { Services } from '../services.ts';
import { connectE2b, killE2b, pauseE2b, resumeE2b, setTimeoutE2b } from './change-e2b.ts';
import { createE2b, mustFindE2b } from './create-e2b.ts';
import { domainFor } from './domain.ts';
import { e2bErrorReply, notServed } from './e2b-error.ts';
import { type E2bState, listedSandbox, STATUSES, sandboxDetail, sandboxObject } from './e2b-object.ts';
import { countRunning, type E2bRow, listE2b } from './e2b-row.ts';
import * as fields from './fields.ts';
import { parseMetadata } from './metadata-filter.ts';
import { replaceNetworkE2b } from './network.ts';

const tag = 'E2B';
const params = z.object({ id: z.string() });
const any = z.unknown();
/** Of every route here: who may call, and in which form failures are told. */
const e2b = { auth: ['K'], tag, errors: e2bErrorReply } as const;

const domainOf = (headers: ReadonlyMap<string, string>, services: Services) =>
  domainFor(headers.get('x-forwarded-host') ?? headers.get('host'), services.config.WRENN_DOMAIN);

type Query = z.output<typeof fields.listQuery>;

async function list(services: Services, teamId: string, query: Query, defaults: readonly E2bState[]) {
  const states = query.state === undefined ? defaults : [query.state].flat().flatMap((text) => text.split(','));
  const after = decodeCursor(query.nextToken || undefined, 2) as [string, string] | null;
  if (after && Number.isNaN(Date.parse(after[0]))) throw badRequest('nextToken: not one that was given out');
  const rows = await listE2b(services.sql, {
    teamId,
    statuses: states.flatMap((state) => {
      if (state !== 'running' && state !== 'paused') throw badRequest('state: must be running or paused');
      return STATUSES[state];
    }),
    metadata: parseMetadata(query.metadata),
    startedAfter: query.startedAfter ?? null,
    template: query.template ?? null,
    order: query.order,
    after,
    limit: query.limit + 1,
  });
  return toPage(rows, query.limit, listedSandbox, (row: E2bRow) => [row.created_at.toISOString(), row.id]);
}

export const e2bSandboxRoutes: Routes = [
  ...(['/sandboxes', '/v2/sandboxes'] as const).map((path) =>
    route({
      ...e2b,
      method: 'POST',
      path,
      summary: 'Create a sandbox',
      body: path === '/sandboxes' ? fields.newSandbox : fields.newSandboxV2,
      responses: { 201: { description: 'It runs', schema: any } },
      handler: async ({ auth, body, headers, signal }, services) => ({
        status: 201,
        body: sandboxObject(await createE2b(services, auth, body, signal), domainOf(headers, services)),
      }),
    }),
  ),
  route({
    ...e2b,
    method: 'GET',
    path: '/sandboxes',
    summary: 'Running sandboxes',
    query: fields.listQuery,
    responses: { 200: { description: 'All that match', schema: any } },
    handler: async ({ auth, query }, services) => ({
      status: 200,
      body: (await list(services, auth.teamId, query, ['running'])).items,
    }),
  }),
  route({
    ...e2b,
    method: 'GET',
    path: '/v2/sandboxes',
    summary: 'Running and paused sandboxes, page by page',
    query: fields.listQuery,
    responses: { 200: { description: 'A page', schema: any } },
    handler: async ({ auth, query }, services) => {
      const { items, next_cursor } = await list(services, auth.teamId, query, ['running', 'paused']);
      const running = await countRunning(services.sql, auth.teamId);
      return {
        status: 200,
        headers: { 'x-total-running': String(running), ...(next_cursor !== null && { 'x-next-token': next_cursor }) },
        body: items,
      };
    },
  }),
  route({
    ...e2b,
    method: 'GET',
    path: '/sandboxes/{id}',
    summary: 'One sandbox',
    params,
    responses: { 200: { description: 'The sandbox', schema: any } },
    handler: async ({ auth, params: { id }, headers }, services) => ({
      status: 200,
      body: sandboxDetail(await mustFindE2b(services, auth.teamId, id), domainOf(headers, services)),
    }),
  }),
  route({
    ...e2b,
    method: 'DELETE',
    path: '/sandboxes/{id}',
    summary: 'Kill a sandbox',
    params,
    responses: { 204: { description: 'Killed' } },
    handler: async ({ auth, params: { id }, signal }, services) => {
      await killE2b(services, { id, teamId: auth.teamId, cause: auth.cause, signal });
      return { status: 204 };
    },
  }),
  route({
    ...e2b,
    method: 'POST',
    path: '/sandboxes/{id}/timeout',
    summary: 'Let it live so many seconds from now',
    params,
    body: fields.timeoutBody,
    responses: { 204: { description: 'Set' } },
    handler: async ({ auth, params: { id }, body, signal }, services) => {
      await setTimeoutE2b(services, { id, teamId: auth.teamId, cause: auth.cause, signal }, body.timeout);
      return { status: 204 };
    },
  }),
  route({
    ...e2b,
    method: 'POST',
    path: '/sandboxes/{id}/pause',
    summary: 'Pause a sandbox',
    params,
    body: fields.pauseBody,
    bodyOptional: true,
    responses: { 204: { description: 'Paused' } },
    handler: async ({ auth, params: { id }, body, signal }, services) => {
      if (body.memory === false) throw notServed('Pausing without memory is');
      await pauseE2b(services, { id, teamId: auth.teamId, cause: auth.cause, signal });
      return { status: 204 };
    },
  }),
  route({
    ...e2b,
    method: 'POST',
    path: '/sandboxes/{id}/resume',
    summary: 'Resume a paused sandbox',
    params,
    body: fields.resumeBody,
    bodyOptional: true,
    responses: { 201: { description: 'It runs', schema: any } },
    handler: async ({ auth, params: { id }, body, headers, signal }, services) => ({
      status: 201,
      body: sandboxObject(await resumeE2b(services, auth, id, body.timeout, signal), domainOf(headers, services)),
    }),
  }),
  ...(['/sandboxes/{id}/connect', '/v2/sandboxes/{id}/connect'] as const).map((path) =>
    route({
      ...e2b,
      method: 'POST',
      path,
      summary: 'Make it run and live at least so many seconds from now',
      params,
      body: path.startsWith('/v2') ? fields.connectV2 : fields.connectV1,
      bodyOptional: path.startsWith('/v2'),
      responses: { 200: { description: 'It ran', schema: any }, 201: { description: 'Resumed', schema: any } },
      handler: async ({ auth, params: { id }, body, headers, signal }, services) => {
        const { row, resumed } = await connectE2b(services, auth, id, body.timeout, signal);
        return { status: resumed ? 201 : 200, body: sandboxObject(row, domainOf(headers, services)) };
      },
    }),
  ),
  route({
    ...e2b,
    method: 'PUT',
    path: '/sandboxes/{id}/network',
    summary: 'Replace what it may reach',
    params,
    body: fields.networkBody,
    responses: { 204: { description: 'In force' } },
    handler: async ({ auth, params: { id }, body, signal }, services) => {
      await replaceNetworkE2b(services, { id, teamId: auth.teamId, cause: auth.cause, signal }, body);
      return { status: 204 };
    },
  }),
];
