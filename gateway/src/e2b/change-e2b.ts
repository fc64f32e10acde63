import { setTimeout as sleep } from 'node:timers/promises';
import { WrennError } from '@wrenn/core';
import type { KeyAuth } from '../http/auth.ts';
import { type CommandTarget, destroySandbox, patchSandbox, pauseSandbox } from '../sandboxes/change-sandbox.ts';
import { wakeSandbox } from '../sandboxes/wake-sandbox.ts';
import type { Services } from '../services.ts';
import { endsAt, mustFindE2b } from './create-e2b.ts';
import type { E2bRow } from './e2b-row.ts';

/** States that end by themselves are waited for this long, looked at in this step. */
const SETTLE_MS = 30_000;
const LOOK_MS = 100;
const PASSING: ReadonlySet<string> = new Set(['pending', 'starting', 'pausing', 'resuming']);

export interface Connected {
  readonly row: E2bRow;
  /** It was paused and has been resumed by this. */
  readonly resumed: boolean;
}

/** Makes it run if it is paused, and prolongs its life to at least `timeout` seconds from now. */
export async function connectE2b(
  services: Services,
  auth: KeyAuth,
  id: string,
  timeout: number,
  signal: AbortSignal,
): Promise<Connected> {
  const { teamId, cause } = auth;
  const before = await settled(services, teamId, id, signal);
  const end = endsAt(timeout);
  if (before.status === 'paused') {
    await wakeSandbox(services, id, { ends_at: Date.parse(end), cause });
    return { row: await mustFindE2b(services, teamId, id), resumed: true };
  }
  if (before.ends_at !== null && Date.parse(end) > before.ends_at.getTime()) {
    await patchSandbox(services, { id, teamId, cause, signal }, { ends_at: end });
  }
  return { row: await mustFindE2b(services, teamId, id), resumed: false };
}

/** The legacy verb: 409 where there is nothing to resume. */
export async function resumeE2b(
  services: Services,
  auth: KeyAuth,
  id: string,
  timeout: number,
  signal: AbortSignal,
): Promise<E2bRow> {
  const before = await settled(services, auth.teamId, id, signal);
  if (before.status !== 'paused') throw new WrennError('conflict', `Sandbox ${id} is already running`);
  await wakeSandbox(services, id, { ends_at: Date.parse(endsAt(timeout)), cause: auth.cause });
  return mustFindE2b(services, auth.teamId, id);
}

/** 409 where it is paused already. */
export async function pauseE2b(services: Services, target: CommandTarget): Promise<void> {
  const before = await settled(services, target.teamId, target.id, target.signal);
  if (before.status === 'paused') throw new WrennError('conflict', `Sandbox ${target.id} is already paused`);
  await pauseSandbox(services, target);
}

/** It may be shortened as well. */
export async function setTimeoutE2b(services: Services, target: CommandTarget, timeout: number): Promise<void> {
  await mustFindE2b(services, target.teamId, target.id);
  await patchSandbox(services, target, { ends_at: endsAt(timeout) });
}

export async function killE2b(services: Services, target: CommandTarget): Promise<void> {
  await mustFindE2b(services, target.teamId, target.id);
  await destroySandbox(services, target, true);
}

/** The sandbox when it is at rest, or as it is when that takes too long. */
async function settled(services: Services, teamId: string, id: string, signal: AbortSignal): Promise<E2bRow> {
  const until = performance.now() + SETTLE_MS;
  for (;;) {
    const row = await mustFindE2b(services, teamId, id);
    if (!PASSING.has(row.status)) return row;
    if (performance.now() > until) throw new WrennError('conflict', `Sandbox ${id} is ${row.status}`);
    await sleep(LOOK_MS, undefined, { signal });
  }
}
