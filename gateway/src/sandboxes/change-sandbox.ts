import type { SandboxEvent, SandboxPatch, SandboxPing } from '@wrenn/actors';
import type { Cause, DomainEvent, Json } from '@wrenn/core';
import { z } from 'zod';
import { fromAgent } from '../agents/agent-error.ts';
import type { Services } from '../services.ts';
import { egress } from './egress-fields.ts';
import { enforceEgress, noteEgressChange } from './enforce-egress.ts';
import { commandMessage } from './idempotency.ts';
import { answered } from './sandbox-commands.ts';
import { noSuchSandbox } from './sandbox-errors.ts';
import * as fields from './sandbox-fields.ts';
import type { SandboxRow } from './sandbox-object.ts';
import { findSandbox } from './sandbox-store.ts';

/** Commands to a sandbox that exists: one place for the REST verbs and the inspector. Each throws 404 for foreign ones. */
export interface CommandTarget {
  readonly id: string;
  readonly teamId: string;
  readonly cause: Cause;
  readonly signal: AbortSignal;
  /** Of pause, resume, fork and snapshot. */
  readonly idempotencyKey?: string | null;
}

export const patchBody = z
  .strictObject({
    labels: fields.labels.optional().meta({ description: 'Replaces all labels' }),
    timeout_sec: fields.timeoutSec.optional(),
    on_timeout: fields.onTimeout.optional(),
    ends_at: fields.endsAt.nullable().optional(),
    on_end: fields.onEnd.optional(),
    public_ports: fields.publicPorts.optional(),
    auto_resume: fields.autoResume.optional(),
    egress: egress.optional().meta({ description: 'In force when the answer comes' }),
  })
  .refine((body) => Object.keys(body).length > 0, 'must name at least one field')
  .meta({ id: 'PatchSandbox' });

/** A ping that the host does not confirm in this time has not kept the sandbox awake. */
const PING_TIMEOUT_MS = 5_000;

export async function patchSandbox(
  services: Services,
  target: CommandTarget,
  { ends_at, ...rest }: z.output<typeof patchBody>,
): Promise<void> {
  await mustFind(services, target);
  const end = ends_at === undefined ? {} : { ends_at: ends_at === null ? null : Date.parse(ends_at) };
  if (rest.egress) await noteEgressChange(services.sql, target.id);
  await ask(services, target, { type: 'PATCH', ...rest, ...end } as SandboxPatch);
  if (rest.egress) await enforceEgress(services, target.id);
}

/** Resolves when nothing is left of it, or when its host is away and will do it on its return. */
export async function destroySandbox(services: Services, target: CommandTarget, wait: boolean): Promise<void> {
  await mustFind(services, target);
  await ask(services, target, { type: 'DESTROY', wait });
}

/** Resolves when it is paused. Where it cannot be, it runs on, and `pause_failed` says why. */
export async function pauseSandbox(services: Services, target: CommandTarget): Promise<void> {
  await mustFind(services, target);
  await ask(services, target, { type: 'PAUSE' });
}

/** Resolves when it runs again. Throws 503 where its host has no room now; it stays paused. */
export async function resumeSandbox(services: Services, target: CommandTarget): Promise<void> {
  await mustFind(services, target);
  await ask(services, target, { type: 'RESUME' });
}

/** The actor's timer starts anew, and the agent, which decides about idleness, hears of it too (SN8). */
export async function pingSandbox(services: Services, target: CommandTarget): Promise<void> {
  const { host_id } = await mustFind(services, target);
  const event: SandboxPing = { type: 'PING' };
  await ask(services, target, event);
  if (host_id === null) return;
  try {
    const agent = await services.agents.connect(host_id);
    await agent.rpc.pingSandbox({ sandboxId: target.id }, { signal: target.signal, timeoutMs: PING_TIMEOUT_MS });
  } catch (error) {
    throw fromAgent(error);
  }
}

export async function mustFind(services: Services, { teamId, id }: CommandTarget): Promise<SandboxRow> {
  const row = await findSandbox(services, teamId, id);
  if (!row) throw noSuchSandbox();
  return row;
}

/** The value of the answer; a refusal or failure is thrown. */
export async function ask({ runtime }: Services, target: CommandTarget, event: SandboxEvent): Promise<Json> {
  const { id, cause, signal } = target;
  const options = { cause, signal, ...commandMessage(target, event.type) };
  return answered(await runtime.ask({ kind: 'sandbox', id }, event as DomainEvent, options));
}
