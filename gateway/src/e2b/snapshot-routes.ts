import { randomBytes } from 'node:crypto';
import { query as select, WrennError } from '@wrenn/core';
import { z } from 'zod';
import { decodeCursor, toPage } from '../http/page-cursor.ts';
import { notFound } from '../http/problems.ts';
import { type Routes, route } from '../http/route.ts';
import { patchSandbox } from '../sandboxes/change-sandbox.ts';
import { forkSandbox } from '../sandboxes/fork-sandbox.ts';
import { failure } from '../sandboxes/sandbox-commands.ts';
import { createSnapshot, deleteSnapshot } from '../snapshots/snapshots.ts';
import { endsAt, mustFindE2b } from './create-e2b.ts';
import { domainFor } from './domain.ts';
import { e2bErrorBody, e2bErrorReply } from './e2b-error.ts';
import { sandboxObject } from './e2b-object.ts';
import { copyFacts } from './e2b-row.ts';
import * as fields from './fields.ts';
import { findTemplateByE2bName } from './template-name.ts';

const tag = 'E2B';
const params = z.object({ id: z.string() });
const any = z.unknown();
const e2b = { auth: ['K'], tag, errors: e2bErrorReply } as const;

const templateRow = z.object({ id: z.string(), name: z.string() });

/** Forks and snapshots; a snapshot is a template, and is deleted as one. */
export const e2bSnapshotRoutes: Routes = [
  route({
    ...e2b,
    method: 'POST',
    path: '/sandboxes/{id}/fork',
    summary: 'Start others from what it is now',
    params,
    body: fields.forkBody,
    bodyOptional: true,
    responses: { 201: { description: 'A sandbox or an error for each', schema: any } },
    handler: async ({ auth, params: { id }, body, headers, signal }, services) => {
      const { teamId, cause } = auth;
      await mustFindE2b(services, teamId, id);
      const target = { id, teamId, cause, signal };
      const items = await forkSandbox(services, target, { count: body.count ?? 1, createdBy: auth.keyId });
      const ids = items.flatMap((item) => ('sandbox' in item ? [item.sandbox.id] : []));
      await copyFacts(services.sql, id, ids);
      const domain = domainFor(headers.get('host'), services.config.WRENN_DOMAIN);
      const forks = items.map(async (item) => {
        if ('error' in item) return { error: e2bErrorBody(failure(item.error)) };
        const child = { ...target, id: item.sandbox.id };
        await patchSandbox(services, child, { ends_at: endsAt(body.timeout), on_end: 'kill' });
        return { sandbox: sandboxObject(await mustFindE2b(services, teamId, child.id), domain) };
      });
      return { status: 201, body: await Promise.all(forks) };
    },
  }),
  route({
    ...e2b,
    method: 'POST',
    path: '/sandboxes/{id}/snapshots',
    summary: 'Keep what it is now as a template',
    params,
    body: fields.snapshotBody,
    bodyOptional: true,
    responses: { 201: { description: 'The snapshot', schema: any } },
    handler: async ({ auth, params: { id }, body, signal }, services) => {
      await mustFindE2b(services, auth.teamId, id);
      const name = body.name ?? `snap-${randomBytes(10).toString('hex')}`;
      await createSnapshot(services, auth, { sandbox_id: id, name }, { signal });
      const template = await findTemplateByE2bName(services.sql, auth.teamId, name);
      return { status: 201, body: { snapshotID: template?.id ?? name, names: [name] } };
    },
  }),
  route({
    ...e2b,
    method: 'GET',
    path: '/snapshots',
    summary: 'Snapshots of the team, by name',
    query: fields.snapshotQuery,
    responses: { 200: { description: 'A page', schema: any } },
    handler: async ({ auth, query }, { sql }) => {
      const after = decodeCursor(query.nextToken || undefined, 1);
      const rows = await select(
        sql,
        templateRow,
        `select id, name from templates
          where team_id = $1 and type = 'snapshot' and state = 'ready' and ($2::text is null or sandbox_id = $2)
            and ($3::text is null or name = $3) and ($4::text is null or name > $4)
          order by name limit $5`,
        [
          auth.teamId,
          query.sandboxID ?? null,
          query.name?.split(':', 1)[0] ?? null,
          after?.[0] ?? null,
          query.limit + 1,
        ],
      );
      const { items, next_cursor } = toPage(
        rows,
        query.limit,
        ({ id, name }) => ({ snapshotID: id, names: [name] }),
        ({ name }) => [name],
      );
      return { status: 200, ...(next_cursor !== null && { headers: { 'x-next-token': next_cursor } }), body: items };
    },
  }),
  route({
    ...e2b,
    method: 'DELETE',
    path: '/templates/{id}',
    summary: 'Delete a snapshot',
    params,
    responses: { 204: { description: 'Deleted' } },
    handler: async ({ auth, params: { id }, signal }, services) => {
      const template = await findTemplateByE2bName(services.sql, auth.teamId, id);
      if (!template) throw notFound(`snapshot '${id}' not found`);
      await deleteSnapshot(services, auth, template.name, signal);
      return { status: 204 };
    },
  }),
  route({
    ...e2b,
    method: 'GET',
    path: '/templates/aliases/{id}',
    summary: 'Whether there is a template of this name',
    params,
    responses: { 200: { description: 'It is there', schema: any } },
    handler: async ({ auth, params: { id } }, services) => {
      const template = await findTemplateByE2bName(services.sql, auth.teamId, id);
      if (!template) throw new WrennError('template_not_found', `template '${id}' not found`);
      return { status: 200, body: { templateID: template.id, public: template.team_id !== auth.teamId } };
    },
  }),
];
