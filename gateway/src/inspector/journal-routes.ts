import { sandboxDefinition } from '@wrenn/actors';
import { z } from 'zod';
import { type Routes, route } from '../http/route.ts';
import { findActor } from './actor-access.ts';
import { actorKind, actorRef } from './actor-params.ts';
import { exportActor } from './export-actor.ts';
import { entryJson, journalEntry, messageJson, messagePair, revision, revisionJson } from './journal-json.ts';
import { journalPage, journalPageBefore } from './journal-pages.ts';
import { listMachines, machineData, machineSummary } from './machines.ts';
import { pairMessages, vmJournals } from './message-pairs.ts';

const tag = 'Inspector';
/** Of each journal, for the pairs: a sandbox has far fewer entries in a day. */
const MAX_PAIRED_ENTRIES = 5_000;

/** The past of actors, and the machines that made it (API11). */
export const journalRoutes: Routes = [
  route({
    method: 'GET',
    path: '/v1/actors/{kind}/{id}/journal',
    auth: ['K', 'J'],
    tag,
    summary: 'What happened to it, in order',
    description:
      'Upwards from `after_seq`, or with `order=desc` downwards from `before_seq` (default: the end). Numbers have no holes.',
    params: actorRef,
    query: z.strictObject({
      order: z.enum(['asc', 'desc']).default('asc'),
      after_seq: z.coerce.number().int().min(0).default(0),
      before_seq: z.coerce.number().int().min(1).optional(),
      limit: z.coerce.number().int().min(1).max(500).default(100),
    }),
    responses: {
      200: {
        description: 'A page; upwards the next one is after `next_after_seq`, downwards before `next_before_seq`',
        schema: z.object({
          items: z.array(journalEntry),
          last_seq: z.int(),
          next_after_seq: z.int().nullable(),
          next_before_seq: z.int().nullable(),
        }),
      },
    },
    handler: async ({ auth, params, query }, services) => {
      const actor = await findActor(services, auth, params);
      const { order, after_seq, before_seq = actor.view.seq + 1, limit } = query;
      const entries =
        order === 'asc'
          ? await journalPage(services, actor, after_seq, limit + 1)
          : await journalPageBefore(services, actor, before_seq, limit + 1);
      const shown = entries.slice(0, limit);
      const next = entries.length > shown.length ? (shown.at(-1)?.seq ?? null) : null;
      const body = {
        items: shown.map(entryJson),
        last_seq: actor.view.seq,
        next_after_seq: order === 'asc' ? next : null,
        next_before_seq: order === 'desc' ? next : null,
      };
      return { status: 200, body };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/actors/{kind}/{id}/revisions/{seq}',
    auth: ['K', 'J'],
    tag,
    summary: 'The actor as one entry of its journal left it, and what caused it',
    params: actorRef.extend({ seq: z.coerce.number().int().min(1) }),
    responses: { 200: { description: 'State and context then', schema: revision } },
    handler: async ({ auth, params: { seq, ...ref } }, services) => {
      const actor = await findActor(services, auth, ref);
      return { status: 200, body: revisionJson(await services.revisions.at(services, actor, seq), actor.view.seq) };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/actors/sandbox/{id}/messages',
    auth: ['K', 'J'],
    tag,
    summary: 'What went between a sandbox and its VMs on hosts, with latencies',
    description:
      'In the order of time. `latency_ms` is by the clocks of two machines; `round_trip_ms` minus `host_ms` is the time on ' +
      'the way, whatever the clocks say.',
    params: z.strictObject({ id: actorRef.shape.id }),
    responses: { 200: { description: 'Pairs of journal entries', schema: z.object({ items: z.array(messagePair) }) } },
    handler: async ({ auth, params: { id } }, services) => {
      const actor = await findActor(services, auth, { kind: 'sandbox', id });
      const [own, theirs] = await Promise.all([
        journalPageBefore(services, actor, actor.view.seq + 1, MAX_PAIRED_ENTRIES),
        vmJournals(services.sql, id, MAX_PAIRED_ENTRIES),
      ]);
      return { status: 200, body: { items: pairMessages(sandboxDefinition, own.reverse(), theirs).map(messageJson) } };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/actors/{kind}/{id}/export',
    auth: ['K', 'J'],
    tag,
    summary: 'Machines, actor and whole journal in one file',
    params: actorRef,
    responses: {
      200: {
        description: 'JSON: {machine, machines (by version), actor, journal}',
        contentType: 'application/json',
      },
    },
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
    method: 'GET',
    path: '/v1/machines',
    auth: ['K', 'J'],
    tag,
    summary: 'Every version of every machine that has run here',
    responses: {
      200: { description: 'By kind, the latest first', schema: z.object({ items: z.array(machineSummary) }) },
    },
    handler: async (_, { sql }) => ({ status: 200, body: { items: await listMachines(sql) } }),
  }),
  route({
    method: 'GET',
    path: '/v1/machines/{kind}/{version}',
    auth: ['K', 'J'],
    tag,
    summary: 'A statechart as data, as it is drawn',
    params: z.strictObject({ kind: actorKind, version: z.coerce.number().int().min(1) }),
    responses: { 200: { description: 'States, transitions, commands, effects, delays', schema: z.looseObject({}) } },
    handler: async ({ params }, { sql }) => ({
      status: 200,
      body: await machineData(sql, params.kind, params.version),
    }),
  }),
];
