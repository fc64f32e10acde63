import type { EffectDefinition, RetryPolicy } from '@wrenn/core';
import type { VmSpec } from '../vm/events.ts';
import type {
  Active,
  HostLost,
  Inspected,
  PlaceFailed,
  Released,
  Reserved,
  SandboxContext,
  VmFailed,
  VmReady,
} from './events.ts';

export type PlaceInput = {
  sandbox_id: string;
  team_id: string;
  template: string;
  vcpus: number;
  memory_mb: number;
  excluded_hosts: string[];
  /** Of the reservation and of the start that follows it. */
  incarnation: number;
};
export type VmTarget = { host_id: string; sandbox_id: string; incarnation: number };
export type VmCreateInput = VmTarget & { spec: VmSpec; budget_ms: number };
/** "Destroy it if it has been idle for `idle_ms`": decided on the host, which alone counts activity (SN7). */
export type VmIdleCheckInput = VmTarget & { idle_ms: number };

/**
 * What the handlers of the control plane are given and return.
 * `vm.destroy`: not found counts as released. Handlers throw where the host did not answer: the policy retries.
 */
export type SandboxEffects = {
  'sandbox.place': { input: PlaceInput; result: Reserved | PlaceFailed };
  'vm.create': { input: VmCreateInput; result: VmReady | VmFailed };
  'vm.inspect': { input: VmTarget; result: Inspected | HostLost };
  'vm.idle_check': { input: VmIdleCheckInput; result: Active | Released };
  'vm.destroy': { input: VmTarget; result: Released };
};

/** Time that the host has for a start, counted from its admission there. */
export const START_BUDGET_MS = 90_000;

/** As long as its state stands: the state's deadline ends it, not a number of attempts. */
const WHILE_EXPECTED: RetryPolicy = { attempts: null, firstDelayMs: 200, factor: 2, maxDelayMs: 5_000 };
/** For ever, visible, and gentle with a host that is away for days. */
const FOR_EVER: RetryPolicy = { attempts: null, firstDelayMs: 500, factor: 2, maxDelayMs: 60_000 };
/** An inspection has 30 s; a host that does not answer four times is lost. */
const BRIEFLY: RetryPolicy = { attempts: 4, firstDelayMs: 500, factor: 2, maxDelayMs: 4_000 };

const target = (context: SandboxContext): VmTarget => ({
  host_id: context.host_id ?? '',
  sandbox_id: context.sandbox_id,
  incarnation: context.incarnation,
});

const vmSpec = ({ sandbox_id, spec }: SandboxContext): VmSpec => ({
  template: spec.template,
  vcpus: spec.vcpus,
  memory_mb: spec.memory_mb,
  disk_size_mb: spec.disk_size_mb,
  envs: spec.envs,
  access_token: spec.access_token,
  default_user: 'user',
  hostname: sandbox_id,
  team_id: spec.team_id,
});

export const sandboxEffects: { [Name in keyof SandboxEffects]: EffectDefinition<SandboxContext> } = {
  'sandbox.place': {
    while: 'placing',
    input: ({ sandbox_id, spec, excluded_hosts, incarnation }): PlaceInput => ({
      sandbox_id,
      team_id: spec.team_id,
      template: spec.template,
      vcpus: spec.vcpus,
      memory_mb: spec.memory_mb,
      excluded_hosts,
      incarnation,
    }),
    results: ['RESERVED', 'PLACE_FAILED'],
    retry: WHILE_EXPECTED,
    gaveUp: ({ code, message }): PlaceFailed => ({ type: 'PLACE_FAILED', code, message }),
  },
  'vm.create': {
    while: 'starting',
    input: (context): VmCreateInput => ({ ...target(context), spec: vmSpec(context), budget_ms: START_BUDGET_MS }),
    results: ['VM_READY', 'VM_FAILED'],
    retry: WHILE_EXPECTED,
    // Safe although the host may be working on it: the way out of a terminal failure leads through `vm.destroy`.
    gaveUp: ({ code, message }, input): VmFailed => ({
      type: 'VM_FAILED',
      incarnation: (input as VmCreateInput).incarnation,
      code,
      message,
      retryable: false,
    }),
  },
  'vm.inspect': {
    while: 'starting.inspecting',
    input: target,
    results: ['INSPECTED', 'HOST_LOST'],
    retry: BRIEFLY,
    gaveUp: (_error, input): HostLost => ({ type: 'HOST_LOST', host_id: (input as VmTarget).host_id }),
  },
  'vm.idle_check': {
    while: 'running.idle.checking',
    input: (context): VmIdleCheckInput => ({ ...target(context), idle_ms: context.spec.timeout_sec * 1000 }),
    results: ['ACTIVE', 'RELEASED'],
    retry: WHILE_EXPECTED,
    // Nothing was decided: as if it had been active just now, so that the timer is set anew.
    gaveUp: (_error, input): Active => ({
      type: 'ACTIVE',
      incarnation: (input as VmIdleCheckInput).incarnation,
      idle_ms: 0,
    }),
  },
  'vm.destroy': {
    while: 'stopping',
    input: target,
    results: ['RELEASED'],
    retry: FOR_EVER,
    // Only a person gives this up: he says that the host holds nothing.
    gaveUp: (_error, input): Released => ({ type: 'RELEASED', incarnation: (input as VmTarget).incarnation }),
  },
};
