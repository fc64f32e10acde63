import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { multipart } from '../../src/http/multipart.ts';
import { route } from '../../src/http/route.ts';

const MIB = 1_048_576;

/** What handlers saw, for assertions from outside. */
export const probe = {
  ...{ uploaded: 0, pulled: 0, aborted: 0, closed: 0, parts: 0 },
  /** Until then the handler of `/slow-upload` reads nothing. */
  letUploadRead: (): void => undefined,
};

const common = { auth: ['-'], tag: 'test', summary: 'test', responses: { 200: { description: 'ok' } } } as const;

/** A route for each thing that a handler can do with a request. */
export const probeRoutes = [
  route({
    ...common,
    method: 'POST',
    path: '/echo/{name}',
    params: z.strictObject({ name: z.string() }),
    body: z.strictObject({ text: z.string(), nested: z.strictObject({ n: z.number() }).optional() }),
    handler: async ({ params, body }) => ({ status: 200, body: { name: params.name, ...body } }),
  }),
  route({ ...common, method: 'DELETE', path: '/echo/{name}', handler: async () => ({ status: 204 }) }),
  route({
    ...common,
    method: 'POST',
    path: '/upload',
    rawBody: { contentTypes: ['application/octet-stream'], maxBytes: 32 * MIB },
    handler: async ({ stream }) => {
      let bytes = 0;
      for await (const chunk of stream) bytes += chunk.length;
      probe.uploaded = bytes;
      return { status: 200, body: { bytes } };
    },
  }),
  route({
    ...common,
    method: 'POST',
    path: '/slow-upload',
    rawBody: { contentTypes: ['*'], maxBytes: null },
    handler: async ({ stream, signal }) => {
      signal.addEventListener('abort', () => {
        probe.aborted += 1;
      });
      let bytes = 0;
      await new Promise<void>((resolve) => {
        probe.letUploadRead = resolve;
      });
      for await (const chunk of stream) bytes += chunk.length;
      return { status: 200, body: { bytes } };
    },
  }),
  route({
    ...common,
    method: 'POST',
    path: '/parts',
    rawBody: { contentTypes: ['multipart/form-data'], maxBytes: null },
    handler: async ({ stream, headers }) => {
      const parts: unknown[] = [];
      for await (const part of multipart(stream, headers.get('content-type') ?? '')) {
        let bytes = 0;
        try {
          for await (const chunk of part.body) bytes += chunk.length;
        } finally {
          probe.parts += 1;
        }
        parts.push({ name: part.name, filename: part.filename, bytes });
      }
      return { status: 200, body: { parts } };
    },
  }),
  route({
    ...common,
    method: 'GET',
    path: '/download',
    query: z.strictObject({ chunks: z.coerce.number(), length: z.coerce.number().optional() }),
    handler: async ({ query }) => {
      async function* source() {
        try {
          for (let i = 0; i < query.chunks; i += 1) {
            probe.pulled += 1;
            yield Buffer.alloc(65_536, 'w');
          }
        } finally {
          probe.closed += 1;
        }
      }
      return { status: 200, stream: source(), ...(query.length !== undefined && { length: query.length }) };
    },
  }),
  route({
    ...common,
    method: 'GET',
    path: '/breaks',
    handler: async () => {
      async function* source() {
        yield Buffer.from('half of it');
        await delay(10);
        throw new Error('the rest is lost');
      }
      return { status: 200, stream: source() };
    },
  }),
  route({
    ...common,
    method: 'GET',
    path: '/throws',
    handler: async () => {
      throw new Error('a secret about the inside');
    },
  }),
  route({
    ...common,
    method: 'GET',
    path: '/waits',
    query: z.strictObject({ ms: z.coerce.number() }),
    handler: async ({ query }) => {
      await delay(query.ms);
      return { status: 200, body: { waited: query.ms } };
    },
  }),
];
