import type { ActorView } from '@wrenn/core';
import { z } from 'zod';
import type { KeyAuth, UserAuth } from '../http/auth.ts';
import { notFound } from '../http/problems.ts';
import { type Routes, route, socketRoute } from '../http/route.ts';
import type { Services } from '../services.ts';
import { findActor, listedTeam } from './actor-access.ts';
import { actorKind, actorRef, all } from './actor-params.ts';
import { runStately } from './stately.ts';
import { issueTicket, redeemTicket } from './stately-ticket.ts';

const tag = 'Inspector';
const PATH = '/v1/actors/stately';

/** For viewers of others: the Stately inspector's protocol. */
export const statelyRoutes: Routes = [
  socketRoute({
    path: PATH,
    auth: ['K', 'J', '-'],
    tag,
    summary: "The feed in the Stately inspector's protocol, for viewers of others",
    description:
      'Messages `@xstate.actor`, `@xstate.event` and `@xstate.snapshot` as `@statelyai/inspect` has them: first the actors ' +
      'that are there (at most 1,000), then what happens. Without header or subprotocol, by `ticket`.',
    query: z.strictObject({
      kind: actorKind.optional(),
      id: actorRef.shape.id.optional().meta({ description: 'One actor; of a sandbox its vms too' }),
      all,
      ticket: z.string().max(2_000).optional(),
    }),
    handler: async ({ auth: known, query }, services) => {
      const auth = known ?? (await redeemTicket(services, query.ticket ?? ''));
      const one = query.id === undefined ? null : await findOne(services, auth, query.id, query.kind);
      const filter = {
        teamId: one === null ? listedTeam(auth, query.all) : null, // that it may be seen is found out already
        kind: query.kind ?? null,
        ids: query.id === undefined ? null : [query.id],
      };
      return (socket) => services.viewers.during(() => runStately(services, socket, filter, one));
    },
  }),
  route({
    method: 'POST',
    path: `${PATH}/tickets`,
    auth: ['K', 'J'],
    tag,
    summary: 'An address by which a viewer that can set no header attaches',
    description: 'For an hour, for this socket only, and for no longer than the key or session that asked for it.',
    responses: {
      201: {
        description: 'Add `kind`, `id` or `all` to the address as you like',
        schema: z.object({ ticket: z.string(), path: z.string(), expires_at: z.iso.datetime() }),
      },
    },
    handler: async ({ auth }, services) => {
      const { ticket, expiresAt } = await issueTicket(services, auth);
      const body = { ticket, path: `${PATH}?ticket=${ticket}`, expires_at: expiresAt.toISOString() };
      return { status: 201, body };
    },
  }),
];

async function findOne(
  services: Services,
  auth: KeyAuth | UserAuth,
  id: string,
  kind: z.output<typeof actorKind> | undefined,
): Promise<ActorView> {
  const kinds = kind === undefined ? actorKind.options : [kind];
  for (const candidate of kinds) {
    const seen = await findActor(services, auth, { kind: candidate, id }).catch((error: unknown) => {
      if (isNotFound(error)) return null;
      throw error;
    });
    if (seen) return seen.view;
  }
  throw notFound('No such actor.');
}

function isNotFound(error: unknown): boolean {
  return (error as { code?: unknown }).code === 'not_found';
}
