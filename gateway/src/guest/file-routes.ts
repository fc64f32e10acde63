import { WrennError } from '@wrenn/core';
import { z } from 'zod';
import { badRequest } from '../http/problems.ts';
import { type Routes, route } from '../http/route.ts';
import { sandboxId } from '../sandboxes/sandbox-id.ts';
import { fileEntry } from './file-entry.ts';
import { entryObject, filePath, writtenObject } from './file-schemas.ts';
import { readFile } from './file-transfer.ts';
import { explain, openGuest, withGuest } from './guest.ts';
import { user } from './process-schemas.ts';
import { upload } from './upload.ts';

const tag = 'Files';
const params = z.strictObject({ id: sandboxId });
const target = z.strictObject({ path: filePath, user: user.optional() });
const WRITE_TYPES = ['multipart/form-data', 'application/octet-stream'];
const written = z.object({ items: z.array(writtenObject) });
const HTTP_RANGE = /^bytes=[0-9, -]{1,200}$/;

/** Both writes do the same: nothing is ever buffered whole. `write` is for forms, `stream/write` for both. */
const writeRoutes = (['write', 'stream/write'] as const).map((name) =>
  route({
    method: 'POST',
    path: `/v1/sandboxes/{id}/files/${name}`,
    auth: ['K', 'J'],
    tag,
    summary: name === 'write' ? 'Write files (a form with path, user, file)' : 'Write a file of any size from a stream',
    description: 'Missing folders are made. A full disk is 507.',
    params,
    query: z.strictObject({ path: filePath.optional(), user: user.optional() }),
    rawBody: { contentTypes: name === 'write' ? WRITE_TYPES.slice(0, 1) : WRITE_TYPES, maxBytes: null },
    responses: { 200: { description: 'What was written', schema: written } },
    handler: async ({ auth, params: { id }, query, stream, headers, signal }, services) => {
      const guest = await openGuest(services, auth.teamId, id);
      const length = Number(headers.get('content-length') ?? Number.NaN);
      const request = {
        path: query.path,
        user: query.user,
        contentType: headers.get('content-type') ?? '',
        contentLength: Number.isSafeInteger(length) ? length : null,
        stream,
      };
      try {
        return { status: 200, body: { items: await upload(guest, request, signal) } };
      } catch (error) {
        throw await explain(services, guest, error);
      }
    },
  }),
);

/** Both reads do the same. */
const readRoutes = (['read', 'stream/read'] as const).map((name) =>
  route({
    method: 'POST',
    path: `/v1/sandboxes/{id}/files/${name}`,
    auth: ['K', 'J'],
    tag,
    summary: name === 'read' ? 'Read a file' : 'Read a file of any size as a stream',
    description: 'The answer is the bytes of the file; a `Range` header is honoured.',
    params,
    body: target,
    responses: {
      200: { description: 'The bytes', contentType: 'application/octet-stream' },
      206: { description: 'A range of them', contentType: 'application/octet-stream' },
    },
    handler: async ({ auth, params: { id }, body, headers, signal }, services) => {
      const range = headers.get('range');
      if (range !== undefined && !HTTP_RANGE.test(range)) throw badRequest('Range: not a range of bytes');
      const file = await withGuest(services, auth.teamId, id, (guest) =>
        readFile(guest, { path: body.path, user: body.user ?? null }, range, signal),
      );
      return {
        status: file.status,
        headers: { ...file.headers, 'content-type': 'application/octet-stream' },
        stream: file.body,
        ...(file.length !== null && { length: file.length }),
      };
    },
  }),
);

/** API3. */
export const fileRoutes: Routes = [
  ...writeRoutes,
  ...readRoutes,
  route({
    method: 'POST',
    path: '/v1/sandboxes/{id}/files/list',
    auth: ['K', 'J'],
    tag,
    summary: 'Entries of a folder',
    params,
    body: target.extend({ depth: z.int().min(1).max(100).default(1) }),
    responses: { 200: { description: 'All of them', schema: z.object({ items: z.array(entryObject) }) } },
    handler: async ({ auth, params: { id }, body, signal }, services) => {
      const { entries } = await withGuest(services, auth.teamId, id, ({ agent, address }) =>
        agent.filesystem(address, body.user ?? null).listDir({ path: body.path, depth: body.depth }, { signal }),
      );
      return { status: 200, body: { items: entries.map(fileEntry) } };
    },
  }),
  route({
    method: 'POST',
    path: '/v1/sandboxes/{id}/files/mkdir',
    auth: ['K', 'J'],
    tag,
    summary: 'Make a folder and the folders above it',
    params,
    body: target,
    responses: { 201: { description: 'The folder', schema: entryObject } },
    handler: async ({ auth, params: { id }, body, signal }, services) => {
      const { entry } = await withGuest(services, auth.teamId, id, ({ agent, address }) =>
        agent.filesystem(address, body.user ?? null).makeDir({ path: body.path }, { signal }),
      );
      if (!entry) throw new WrennError('guest_error', 'The guest did not say what it made.');
      return { status: 201, body: fileEntry(entry) };
    },
  }),
  route({
    method: 'POST',
    path: '/v1/sandboxes/{id}/files/remove',
    auth: ['K', 'J'],
    tag,
    summary: 'Remove a file, or a folder with all in it',
    description: 'What is not there is removed already.',
    params,
    body: target,
    responses: { 204: { description: 'It is not there any more' } },
    handler: async ({ auth, params: { id }, body, signal }, services) => {
      await withGuest(services, auth.teamId, id, ({ agent, address }) =>
        agent.filesystem(address, body.user ?? null).remove({ path: body.path }, { signal }),
      );
      return { status: 204 };
    },
  }),
];
