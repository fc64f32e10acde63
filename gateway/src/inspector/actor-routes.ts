import type { Cause } from '@wrenn/core';
import { z } from 'zod';
import { notFound } from '../http/problems.ts';
import { type Routes, route } from '../http/route.ts';
import { page, pageQuery } from '../http/schemas.ts';
import { parseLabels } from '../sandboxes/label-filter.ts';
import type { Services } from '../services.ts';
import { findActor, listedTeam } from './actor-access.ts';
import { commandActor } from './actor-command.ts';
import { describeActor } from './actor-detail.ts';
import { actorDetail, actorSummary, summaryJson } from './actor-json.ts';
import { listActors } from './actor-list.ts';
import { actorKind, actorRef, all } from './actor-params.ts';
import { countStates, stateCount } from './state-counts.ts';

const tag = 'Inspector';
const effectRef = actorRef.extend({ n: z.coerce.number().int().min(1) });
const statePath = z.string().regex(/^[A-Za-z0-9_.+]{1,400}$/, 'must be a state: running.idle');

/** Actors as they are now, and commands to them (API11). */
export const actorRoutes: Routes = [
  route({
    method: 'GET',
    path: '/v1/actors',
    auth: ['K', 'J'],
    tag,
    summary: 'Actors: sandboxes, snapshots, hosts, and the VMs that hosts tell of',
    query: z.strictObject({
      ...pageQuery,
      kind: actorKind.optional(),
      state: statePath.optional().meta({ description: 'A state, one that encloses it, or a whole `path`' }),
      label: z
        .union([z.string(), z.array(z.string())])
        .optional()
        .meta({ description: '`name=value`, of sandboxes' }),
      stuck: z
        .stringbool()
        .default(false)
        .meta({ description: 'Past a deadline, or with an effect that was given up' }),
      all,
    }),
    responses: { 200: { description: 'A page', schema: page(actorSummary) } },
    handler: async ({ auth, query }, services) => {
      const { views, next_cursor } = await listActors(services, {
        teamId: listedTeam(auth, query.all),
        kind: query.kind ?? null,
        state: query.state ?? null,
        labels: query.label === undefined ? null : parseLabels(query.label),
        stuck: query.stuck,
        cursor: query.cursor,
        limit: query.limit,
      });
      return { status: 200, body: { items: views.map(summaryJson), next_cursor } };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/actors/summary',
    auth: ['K', 'J'],
    tag,
    summary: 'How many actors are in each state, and for how long',
    query: z.strictObject({ all }),
    responses: {
      200: {
        description: 'One row per kind and state; those that are done are not counted',
        schema: z.object({ items: z.array(stateCount) }),
      },
    },
    handler: async ({ auth, query }, services) => ({
      status: 200,
      body: { items: await countStates(services, listedTeam(auth, query.all)) },
    }),
  }),
  route({
    method: 'GET',
    path: '/v1/actors/{kind}/{id}',
    auth: ['K', 'J'],
    tag,
    summary: 'State, context, timers, open effects, and which commands are legal',
    params: actorRef,
    responses: { 200: { description: 'The actor', schema: actorDetail } },
    handler: async ({ auth, params }, services) => ({
      status: 200,
      body: await describeActor(services, await findActor(services, auth, params)),
    }),
  }),
  route({
    method: 'POST',
    path: '/v1/actors/{kind}/{id}/commands',
    auth: ['K', 'J'],
    tag,
    summary: 'Command it, with the checks of the REST verb',
    params: actorRef,
    body: z.looseObject({ type: z.string().regex(/^[A-Z_]{1,64}$/, 'must be the type of a command') }),
    responses: { 200: { description: 'The actor after it', schema: actorDetail } },
    handler: async ({ auth, params, body, signal }, services) => {
      const { teamId } = await findActor(services, auth, params);
      await commandActor(services, auth, { ...params, teamId }, body, signal);
      return { status: 200, body: await describeActor(services, await findActor(services, auth, params)) };
    },
  }),
  route({
    method: 'POST',
    path: '/v1/actors/{kind}/{id}/effects/{n}/retry',
    auth: ['A'],
    tag,
    summary: 'Try an open or given-up effect again, with all its attempts',
    params: effectRef,
    responses: { 204: { description: 'It is tried' } },
    handler: ({ auth, params }, services) => treatEffect(services, 'retryEffect', params, auth.cause),
  }),
  route({
    method: 'POST',
    path: '/v1/actors/{kind}/{id}/effects/{n}/give-up',
    auth: ['A'],
    tag,
    summary: 'End an effect as if its attempts were used up',
    params: effectRef,
    responses: { 204: { description: 'The actor has heard of it' } },
    handler: ({ auth, params }, services) => treatEffect(services, 'giveUpEffect', params, auth.cause),
  }),
];

async function treatEffect(
  { runtime }: Services,
  how: 'retryEffect' | 'giveUpEffect',
  { kind, id, n }: z.output<typeof effectRef>,
  cause: Cause,
) {
  const done = runtime.definitions.has(kind) && (await runtime[how]({ kind, id }, n, cause));
  if (!done) throw notFound('No such open effect.');
  return { status: 204 };
}
