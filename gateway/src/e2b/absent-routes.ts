import { z } from 'zod';
import type { Method } from '../http/route.ts';
import { type Routes, route } from '../http/route.ts';
import { e2bErrorReply, notServed } from './e2b-error.ts';

/** Parts of E2B's API that are not here: they say so, with 501. */
const ABSENT: readonly (readonly [what: string, paths: readonly (readonly [Method, string])[]])[] = [
  [
    'Template builds are',
    [
      ['POST', '/v3/templates'],
      ['POST', '/v2/templates'],
      ['POST', '/templates'],
      ['POST', '/templates/{id}'],
      ['GET', '/templates/{id}/files/{hash}'],
      ['POST', '/templates/{id}/builds/{build}'],
      ['POST', '/v2/templates/{id}/builds/{build}'],
      ['GET', '/templates/{id}/builds/{build}/status'],
      ['GET', '/templates/{id}/builds/{build}/logs'],
      ['POST', '/templates/tags'],
      ['DELETE', '/templates/tags'],
      ['GET', '/templates/{id}/tags'],
    ],
  ],
  [
    'Volumes are',
    [
      ['GET', '/volumes'],
      ['POST', '/volumes'],
      ['GET', '/volumes/{id}'],
      ['DELETE', '/volumes/{id}'],
    ],
  ],
  [
    'Secrets are',
    [
      ['GET', '/secrets'],
      ['POST', '/secrets'],
      ['GET', '/secrets/{id}'],
      ['POST', '/secrets/{id}'],
      ['DELETE', '/secrets/{id}'],
    ],
  ],
];

export const e2bAbsentRoutes: Routes = ABSENT.flatMap(([what, paths]) =>
  paths.map(([method, path]) => {
    const names = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1] as string);
    return route({
      method,
      path,
      auth: ['K'],
      tag: 'E2B',
      errors: e2bErrorReply,
      summary: `${what} not supported`,
      params: z.object(Object.fromEntries(names.map((name) => [name, z.string()]))),
      rawBody: { contentTypes: ['*'], maxBytes: 1_048_576 },
      responses: {},
      handler: async () => {
        throw notServed(what);
      },
    });
  }),
);
