import type { HostCommand } from '@wrenn/actors';
import { type Cause, errorFrom, type Json, queryOne, WrennError } from '@wrenn/core';
import { z } from 'zod';
import type { UserAuth } from '../http/auth.ts';
import { decodeCursor, toPage } from '../http/page-cursor.ts';
import { forbidden } from '../http/problems.ts';
import { type Routes, route } from '../http/route.ts';
import { id, page, pageQuery } from '../http/schemas.ts';
import { newId } from '../identity/ids.ts';
import type { Services } from '../services.ts';
import { findHost, hostJson, listHosts, sandboxesOn } from './hosts.ts';
import { REGISTRATION_TOKEN_SECONDS } from './registration-tokens.ts';
import { host, hostWithToken, newHost, tags } from './schemas.ts';

const tag = 'Hosts';
const params = z.strictObject({ id: id('host') });

/** API8 for people. Platform hosts: platform admins; BYOC hosts: owner or admin of the team. */
export const hostRoutes: Routes = [
  route({
    method: 'POST',
    path: '/v1/hosts',
    auth: ['J'],
    tag,
    summary: 'Add a host and get its one-time registration token',
    body: newHost,
    responses: { 201: { description: 'The token is good once, for an hour', schema: hostWithToken } },
    handler: async ({ auth, body }, services) => {
      const teamId = await teamOfNewHost(services, auth, body.byoc);
      const hostId = newId('host');
      const { name, tags } = body;
      await command(
        services,
        hostId,
        { type: 'CREATE', team_id: teamId, name, tags, created_by: auth.userId },
        auth.cause,
      );
      return { status: 201, body: await withNewToken(services, auth, hostId) };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/hosts',
    auth: ['J'],
    tag,
    summary: "The team's hosts, and the platform's for platform admins",
    query: z.strictObject(pageQuery),
    responses: { 200: { description: 'A page', schema: page(host) } },
    handler: async ({ auth, query: { limit, cursor } }, { sql }) => {
      const rows = await listHosts(sql, auth, { after: decodeCursor(cursor, 1), limit: limit + 1 });
      return { status: 200, body: toPage(rows, limit, hostJson, ({ id }) => [id]) };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/hosts/{id}',
    auth: ['J'],
    tag,
    summary: 'One host',
    params,
    responses: { 200: { description: 'The host', schema: host } },
    handler: async ({ auth, params }, { sql }) => {
      return { status: 200, body: hostJson(await findHost(sql, auth, params.id, 'see')) };
    },
  }),
  route({
    method: 'POST',
    path: '/v1/hosts/{id}/token',
    auth: ['J'],
    tag,
    summary: 'A new registration token; the earlier one is no longer good',
    params,
    responses: { 201: { description: 'The token is good once, for an hour', schema: hostWithToken } },
    handler: async ({ auth, params }, services) => {
      await findHost(services.sql, auth, params.id, 'manage');
      await command(services, params.id, { type: 'NEW_TOKEN' }, auth.cause);
      return { status: 201, body: await withNewToken(services, auth, params.id) };
    },
  }),
  route({
    method: 'PUT',
    path: '/v1/hosts/{id}/tags',
    auth: ['J'],
    tag,
    summary: "Replace a host's tags",
    params,
    body: z.strictObject({ tags }),
    responses: { 200: { description: 'The host', schema: host } },
    handler: ({ auth, params, body }, services) =>
      commanded(services, auth, params.id, { type: 'SET_TAGS', tags: body.tags }),
  }),
  route({
    method: 'POST',
    path: '/v1/hosts/{id}/drain',
    auth: ['J'],
    tag,
    summary: 'Take no new sandboxes',
    params,
    responses: { 200: { description: 'The host', schema: host } },
    handler: ({ auth, params }, services) => commanded(services, auth, params.id, { type: 'DRAIN' }),
  }),
  route({
    method: 'POST',
    path: '/v1/hosts/{id}/undrain',
    auth: ['J'],
    tag,
    summary: 'Take new sandboxes again',
    params,
    responses: { 200: { description: 'The host', schema: host } },
    handler: ({ auth, params }, services) => commanded(services, auth, params.id, { type: 'UNDRAIN' }),
  }),
  route({
    method: 'GET',
    path: '/v1/hosts/{id}/delete-preview',
    auth: ['J'],
    tag,
    summary: 'Sandboxes that would go with the host',
    params,
    responses: {
      200: {
        description: 'At most 1000 of them',
        schema: z.object({
          sandboxes: z.array(
            z.object({ id: z.string(), team_id: z.string(), status: z.string(), template: z.string() }),
          ),
        }),
      },
    },
    handler: async ({ auth, params }, { sql }) => {
      const { id } = await findHost(sql, auth, params.id, 'manage');
      return { status: 200, body: { sandboxes: await sandboxesOn(sql, id) } };
    },
  }),
  route({
    method: 'DELETE',
    path: '/v1/hosts/{id}',
    auth: ['J'],
    tag,
    summary: 'Delete a host; 409 with its sandboxes unless forced',
    params,
    query: z.strictObject({ force: z.stringbool().default(false) }),
    responses: { 204: { description: 'Deleted' } },
    handler: async ({ auth, params, query }, services) => {
      await findHost(services.sql, auth, params.id, 'manage');
      await command(services, params.id, { type: 'DELETE', force: query.force }, auth.cause);
      return { status: 204 };
    },
  }),
];

async function commanded(services: Services, auth: UserAuth, hostId: string, event: HostCommand) {
  await findHost(services.sql, auth, hostId, 'manage');
  await command(services, hostId, event, auth.cause);
  return { status: 200, body: hostJson(await findHost(services.sql, auth, hostId, 'see')) };
}

/** Sends it to the host's actor and throws its refusal. */
async function command({ runtime }: Services, hostId: string, event: HostCommand, cause: Cause): Promise<Json> {
  const answer = await runtime.ask({ kind: 'host', id: hostId }, event, { cause });
  if (!answer.ok) throw errorFrom(answer.error);
  return answer.value;
}

async function withNewToken({ sql, registrationTokens }: Services, auth: UserAuth, hostId: string) {
  const token = await registrationTokens.issue(hostId);
  const row = await findHost(sql, auth, hostId, 'see');
  const expiresAt = new Date(Date.now() + REGISTRATION_TOKEN_SECONDS * 1_000);
  return { host: hostJson(row), registration_token: token, expires_at: expiresAt.toISOString() };
}

/** Null for a platform host. */
async function teamOfNewHost({ sql }: Services, auth: UserAuth, byoc: boolean): Promise<string | null> {
  if (!byoc) {
    if (!auth.isAdmin) throw forbidden('Only a platform admin may add platform hosts.');
    return null;
  }
  if (auth.role === 'member') throw forbidden('Only owners and admins of the team may add hosts.');
  const team = await queryOne(sql, z.object({ is_byoc: z.boolean() }), 'select is_byoc from teams where id = $1', [
    auth.teamId,
  ]);
  if (!team?.is_byoc) throw new WrennError('forbidden', 'This team may not bring its own hosts.');
  return auth.teamId;
}
