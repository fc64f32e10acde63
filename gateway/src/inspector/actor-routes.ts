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
import { actorDetail, actorSummary, entryJson, journalEntry, summaryJson } from './actor-json.ts';
import { listActors } from './actor-list.ts';
import { exportActor } from './export-actor.ts';
import { journalPage } from './journal-pages.ts';
import { machineData } from './machines.ts';
import { summarizeMirrors } from './vm-mirrors.ts';

const tag = 'Inspector';
const kind = z.enum(['sandbox', 'host', 'vm']);
/** Of sandboxes, of hosts, of one start of a sandbox. */
const actorId = z
  .string()
  .regex(/^[a-z0-9]+([-.][a-z0-9]+)*$/, 'must be the id of an actor')
  .max(100);
const ref = z.strictObject({ kind, id: actorId });
const effectRef = ref.extend({ n: z.coerce.number().int().min(1) });
const all = z.stringbool().default(false).meta({ description: 'Of all teams; platform admins only' });
const statePath = z.string().regex(/^[A-Za-z0-9_.]{1,200}$/, 'must be a state: running.idle');

/** API11 but its feed. */
export const actorRoutes: Routes = [
  route({
    method: 'GET',
    path: '/v1/actors',
    auth: ['K', 'J'],
    tag,
    summary: 'Actors: sandboxes, hosts, and the VMs that hosts tell of',
    query: z.strictObject({
      ...pageQuery,
      kind: kind.optional(),
      state: statePath.optional().meta({ description: 'A state, or one that encloses it' }),
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
        schema: z.object({
          items: z.array(
            z.object({
              kind: z.string(),
              path: z.string(),
              count: z.int(),
              oldest_since: z.iso.datetime(),
              median_dwell_ms: z.number(),
            }),
          ),
        }),
      },
    },
    handler: async ({ auth, query }, { runtime, sql }) => {
      const teamId = listedTeam(auth, query.all);
      const rows = await Promise.all([runtime.summary(teamId), summarizeMirrors(sql, teamId)]);
      const items = rows.flat().map((row) => ({
        kind: row.kind,
        path: row.path,
        count: row.count,
        oldest_since: new Date(row.oldestSince).toISOString(),
        median_dwell_ms: row.medianDwellMs,
      }));
      return { status: 200, body: { items } };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/actors/{kind}/{id}',
    auth: ['K', 'J'],
    tag,
    summary: 'State, context, timers, open effects, and which commands are legal',
    params: ref,
    responses: { 200: { description: 'The actor', schema: actorDetail } },
    handler: async ({ auth, params }, services) => ({
      status: 200,
      body: await describeActor(services, await findActor(services, auth, params)),
    }),
  }),
  route({
    method: 'GET',
    path: '/v1/actors/{kind}/{id}/journal',
    auth: ['K', 'J'],
    tag,
    summary: 'What happened to it, in order',
    params: ref,
    query: z.strictObject({
      after_seq: z.coerce.number().int().min(0).default(0),
      limit: z.coerce.number().int().min(1).max(500).default(100),
    }),
    responses: {
      200: {
        description: 'A page; the next one is after `next_after_seq`',
        schema: z.object({ items: z.array(journalEntry), next_after_seq: z.int().nullable() }),
      },
    },
    handler: async ({ auth, params, query }, services) => {
      const actor = await findActor(services, auth, params);
      const entries = await journalPage(services, actor, query.after_seq, query.limit + 1);
      const shown = entries.slice(0, query.limit);
      const next = entries.length > shown.length ? (shown.at(-1)?.seq ?? null) : null;
      return { status: 200, body: { items: shown.map(entryJson), next_after_seq: next } };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/actors/{kind}/{id}/export',
    auth: ['K', 'J'],
    tag,
    summary: 'Machine, actor and whole journal in one file',
    params: ref,
    responses: { 200: { description: 'JSON: {machine, actor, journal}', contentType: 'application/json' } },
    handler: async ({ auth, params }, services) => {
      const actor = await findActor(services, auth, params);
      const headers = {
        'content-type': 'application/json',
        'content-disposition': `attachment; filename="${params.kind}-${params.id}.json"`,
      };
      return { status: 200, headers, stream: exportActor(services, actor) };
    },
  }),
  route({
    method: 'POST',
    path: '/v1/actors/{kind}/{id}/commands',
    auth: ['K', 'J'],
    tag,
    summary: 'Command it, with the checks of the REST verb',
    params: ref,
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
  route({
    method: 'GET',
    path: '/v1/machines/{kind}/{version}',
    auth: ['K', 'J'],
    tag,
    summary: 'A statechart as data, as it is drawn',
    params: z.strictObject({ kind, version: z.coerce.number().int().min(1) }),
    responses: { 200: { description: 'States, transitions, commands, effects, delays', schema: z.looseObject({}) } },
    handler: async ({ params }) => ({ status: 200, body: machineData(params.kind, params.version) }),
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
