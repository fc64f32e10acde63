import type { ActorView, Json, LegalCommand, OpenEffect, OpenTimer, Runtime } from '@wrenn/core';
import { z } from 'zod';

/** Actors as the inspector's API shows them: without secrets, times as RFC 3339. */

const time = z.iso.datetime();
const json = z.unknown();

export const actorSummary = z
  .object({
    kind: z.string(),
    id: z.string(),
    state: json.meta({ description: "The statechart's state value" }),
    path: z.string().meta({ description: 'Active leaf states, joined by +' }),
    tags: z.array(z.string()),
    seq: z.int(),
    machine_version: z.int(),
    created_at: time,
    since: time,
    updated_at: time,
    done: z.boolean(),
  })
  .meta({ id: 'ActorSummary' });

export const actorDetail = actorSummary
  .extend({
    team_id: z.string().nullable(),
    host_id: z.string().nullable().meta({ description: 'Set for a vm: a copy of what that host says' }),
    context: json,
    timers: z.array(z.object({ name: z.string(), due_at: time, event: z.string(), state: z.string() })),
    effects: z.array(
      z.object({
        number: z.int(),
        key: z.string(),
        name: z.string(),
        state: z.string(),
        status: z.enum(['open', 'running', 'parked']),
        attempts: z.int(),
        opened_at: time,
        next_attempt_at: time.nullable(),
        last_error: z.object({ code: z.string(), message: z.string() }).nullable(),
      }),
    ),
    commands: z.array(
      z.object({
        type: z.string(),
        title: z.string(),
        destructive: z.boolean(),
        legal: z.boolean(),
        reason: z.string().optional(),
      }),
    ),
    vms: z.array(actorSummary).meta({ description: 'Of a sandbox: its starts on hosts, the latest first' }),
  })
  .meta({ id: 'Actor' });

const iso = (ms: number) => new Date(ms).toISOString();

export function summaryJson(view: ActorView): z.output<typeof actorSummary> {
  return {
    kind: view.kind,
    id: view.id,
    state: view.state,
    path: view.path,
    tags: [...view.tags],
    seq: view.seq,
    machine_version: view.machineVersion,
    created_at: iso(view.createdAt),
    since: iso(view.since),
    updated_at: iso(view.updatedAt),
    done: view.done,
  };
}

export function timerJson({ name, dueAt, event, state }: OpenTimer) {
  return { name, due_at: iso(dueAt), event, state };
}

export function effectJson({
  key,
  name,
  number,
  state,
  status,
  attempts,
  openedAt,
  nextAttemptAt,
  lastError,
}: OpenEffect) {
  return {
    number,
    key,
    name,
    state,
    status,
    attempts,
    opened_at: iso(openedAt),
    next_attempt_at: nextAttemptAt === null ? null : iso(nextAttemptAt),
    last_error: lastError,
  };
}

export function commandJson(command: LegalCommand) {
  const { type, title, destructive, legal, reason } = command;
  return { type, title, destructive, legal, ...(reason !== undefined && { reason }) };
}

/** Context as outsiders may see it. A mirror's context came without secrets. */
export function contextJson(runtime: Runtime, view: ActorView): Json {
  const definition = runtime.definitions.get(view.kind);
  return definition?.publicContext ? definition.publicContext(view.context) : view.context;
}
