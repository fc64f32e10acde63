import { z } from 'zod';
import { type Routes, route } from './http/route.ts';

/** For load balancers and `make up`. */
export const healthRoutes: Routes = [
  route({
    method: 'GET',
    path: '/health',
    auth: ['-'],
    tag: 'Meta',
    summary: 'Whether this replica is in control',
    responses: {
      200: { description: 'In control', schema: z.object({ status: z.literal('ok') }) },
      503: { description: 'Starting or stopping', schema: z.object({ status: z.literal('starting') }) },
    },
    handler: async (_, { readiness }) =>
      readiness.inControl ? { status: 200, body: { status: 'ok' } } : { status: 503, body: { status: 'starting' } },
  }),
];
