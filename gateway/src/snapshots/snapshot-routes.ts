import { z } from 'zod';
import { type Routes, route } from '../http/route.ts';
import { page } from '../http/schemas.ts';
import { idempotencyKey } from '../sandboxes/idempotency.ts';
import { listTemplates, templateObject, templateQuery } from '../templates/template-list.ts';
import { createSnapshot, deleteSnapshot, snapshotBody } from './snapshots.ts';

const tag = 'Snapshots';

/** API4: templates that are frozen VMs. */
export const snapshotRoutes: Routes = [
  route({
    method: 'POST',
    path: '/v1/snapshots',
    auth: ['K', 'J'],
    tag,
    summary: 'Keep what a running or paused sandbox is now, under a name, as a template (SN9)',
    description:
      'A running one stands still for a moment and runs on. Answers when the template can be used. Its name is unique in ' +
      "the team, and none of the platform's. The same `Idempotency-Key` with the same body gets the first answer.",
    body: snapshotBody,
    responses: { 201: { description: 'The template', schema: templateObject } },
    handler: async ({ auth, body, headers, signal }, services) => ({
      status: 201,
      body: await createSnapshot(services, auth, body, { signal, idempotencyKey: idempotencyKey(headers) }),
    }),
  }),
  route({
    method: 'GET',
    path: '/v1/snapshots',
    auth: ['K', 'J'],
    tag,
    summary: "The team's and the platform's templates, as `GET /v1/templates`",
    query: templateQuery,
    responses: { 200: { description: 'A page, by name', schema: page(templateObject) } },
    handler: async ({ auth, query }, { sql }) => ({ status: 200, body: await listTemplates(sql, auth.teamId, query) }),
  }),
  route({
    method: 'DELETE',
    path: '/v1/snapshots/{name}',
    auth: ['K', 'J'],
    tag,
    summary: "Delete one of the team's snapshots",
    description:
      'It is no template any more at once; its files go from its host when that is there. What was started from it runs on.',
    params: z.strictObject({ name: z.string().min(1).max(128) }),
    responses: { 204: { description: 'Deleted' } },
    handler: async ({ auth, params: { name }, signal }, services) => {
      await deleteSnapshot(services, auth, name, signal);
      return { status: 204 };
    },
  }),
];
