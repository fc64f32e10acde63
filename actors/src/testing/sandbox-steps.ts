import { expect } from 'vitest';
import { sandboxDefinition } from '../sandbox/definition.ts';
import type { HostBack, SandboxContext, SandboxSpec, VmFacts, VmReady } from '../sandbox/events.ts';
import { status } from '../sandbox/project.ts';
import { ActorInMemory, type Clock } from './actor-in-memory.ts';
import { checkActor, checkReplay } from './invariants.ts';
import { createSandbox } from './samples.ts';
import { snapshotInfo } from './snapshot-sample.ts';

export type Sandbox = ActorInMemory<SandboxContext>;

export const ID = 'sb00000000000000000001';
export const ready = (incarnation: number): VmReady => ({
  type: 'VM_READY',
  incarnation,
  host_ip: '10.11.0.1',
  guest_ip: '169.254.0.21',
  timings_ms: {},
  store_id: 'store-1',
  cursor: 10,
});
export const vmPaused = (incarnation: number) => ({
  type: 'VM_PAUSED',
  incarnation,
  snapshot: snapshotInfo,
  timings_ms: { freeze: 2 },
});
export const PAUSE_FAILED = { type: 'PAUSE_FAILED', incarnation: 1, code: 'pause_failed', message: 'the disk is full' };
export const RESERVED = { type: 'RESERVED', host_id: 'host-1', store_id: 'store-1' };
export const LOST = { type: 'HOST_LOST', host_id: 'host-1' };
export const back = (facts: Partial<VmFacts>): HostBack => ({
  type: 'HOST_BACK',
  host_id: 'host-1',
  incarnation: 1,
  status: 'paused',
  snapshot: snapshotInfo,
  store_id: 'store-1',
  cursor: 20,
  ...facts,
});

export function running(clock: Clock, changes: Partial<SandboxSpec> = {}): Sandbox {
  const sandbox = new ActorInMemory(sandboxDefinition, ID, clock);
  sandbox.send(createSandbox(changes), { id: 'create' });
  sandbox.result('sandbox.place', RESERVED);
  sandbox.result('vm.create', ready(1));
  return sandbox;
}

export function paused(clock: Clock, changes: Partial<SandboxSpec> = {}): Sandbox {
  const sandbox = running(clock, changes);
  sandbox.send({ type: 'PAUSE' }, { id: 'pause' });
  sandbox.result('vm.pause', vmPaused(1));
  expect(status(sandbox.view)).toBe('paused');
  return sandbox;
}

export function restoring(clock: Clock, changes: Partial<SandboxSpec> = {}): Sandbox {
  const sandbox = paused(clock, changes);
  sandbox.send({ type: 'RESUME' }, { id: 'resume' });
  sandbox.result('sandbox.reserve', RESERVED);
  expect(sandbox.path).toBe('resuming.restoring.waiting');
  return sandbox;
}

export const answerOf = (sandbox: Sandbox, id: string) => sandbox.answers.get(id);
export const done = (state: string) => [{ ok: true, value: { sandbox_id: ID, status: state } }];
export const actions = (sandbox: Sandbox) => sandbox.audits.map(({ action }) => action);
export const check = (sandbox: Sandbox) => {
  checkActor(sandbox as never);
  checkReplay(sandbox as never);
};
