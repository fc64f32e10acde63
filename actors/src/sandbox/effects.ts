import type { EffectDefinition, Json, RetryPolicy } from '@wrenn/core';
import type { VmSpec } from '../vm/events.ts';
import type {
  Active,
  Branched,
  BranchFailed,
  HostLost,
  Inspected,
  PauseFailed,
  PlaceFailed,
  Released,
  Reserved,
  SandboxContext,
  VmFailed,
  VmPaused,
  VmReady,
} from './events.ts';

export type PlaceInput = {
  sandbox_id: string;
  team_id: string;
  template: string;
  vcpus: number;
  memory_mb: number;
  excluded_hosts: string[];
  /** The only host that will do, as what it starts from lies there. */
  host_id: string | null;
  /** Of the reservation and of the start that follows it. */
  incarnation: number;
};
export type VmTarget = { host_id: string; sandbox_id: string; incarnation: number };
export type VmCreateInput = VmTarget & { spec: VmSpec; budget_ms: number; snapshot_id: string | null };
/** `if_idle_ms`: only if there was no activity for so long. Decided on the host, which alone counts it (SN7). */
export type VmPauseInput = VmTarget & { if_idle_ms: number | null; budget_ms: number };
/** `incarnation` is the new one. */
export type VmResumeInput = VmTarget & { spec: VmSpec; from_incarnation: number; budget_ms: number };
/** `children` 0: a snapshot that people name. */
export type VmBranchInput = VmTarget & { snapshot_id: string; children: number; budget_ms: number };
/** "Destroy it if it has been idle for `idle_ms`": decided on the host, which alone counts activity (SN7). */
export type VmIdleCheckInput = VmTarget & { idle_ms: number };

/**
 * What the handlers of the control plane are given and return.
 * `vm.destroy`: not found counts as released. Handlers throw where the host did not answer: the policy retries.
 * An effect belongs to one state, so that what is done in several has several names.
 */
export type SandboxEffects = {
  'sandbox.place': { input: PlaceInput; result: Reserved | PlaceFailed };
  'vm.create': { input: VmCreateInput; result: VmReady | VmFailed };
  'vm.inspect': { input: VmTarget; result: Inspected | HostLost };
  'vm.idle_check': { input: VmIdleCheckInput; result: Active | Released };
  'vm.pause': { input: VmPauseInput; result: VmPaused | PauseFailed | Active };
  'vm.inspect_pause': { input: VmTarget; result: Inspected | HostLost };
  'sandbox.reserve': { input: PlaceInput; result: Reserved | PlaceFailed };
  'vm.resume': { input: VmResumeInput; result: VmReady | VmFailed };
  'vm.inspect_resume': { input: VmTarget; result: Inspected | HostLost };
  'vm.snapshot': { input: VmBranchInput; result: Branched | BranchFailed };
  'vm.fork': { input: VmBranchInput; result: Branched | BranchFailed };
  'vm.snapshot_paused': { input: VmBranchInput; result: Branched | BranchFailed };
  'vm.fork_paused': { input: VmBranchInput; result: Branched | BranchFailed };
  'vm.destroy': { input: VmTarget; result: Released };
};

/** Time that the host has for a start, counted from its admission there. */
export const START_BUDGET_MS = 90_000;
/** A resume maps files and loads devices. */
export const RESUME_BUDGET_MS = 50_000;
/** A pause or a snapshot writes at most the whole memory, at 40 MB/s on the slowest disks that are worth having. */
export const saveBudgetMs = (memoryMb: number): number => 110_000 + memoryMb * 25;

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
  egress: spec.egress ?? null,
});

const placement = ({ sandbox_id, spec, excluded_hosts, incarnation }: SandboxContext): PlaceInput => ({
  sandbox_id,
  team_id: spec.team_id,
  template: spec.template,
  vcpus: spec.vcpus,
  memory_mb: spec.memory_mb,
  excluded_hosts,
  host_id: spec.snapshot?.host_id ?? null,
  incarnation,
});

const branchInput = (context: SandboxContext): VmBranchInput => ({
  ...target(context),
  incarnation: context.status === 'paused' ? context.paused_incarnation : context.incarnation,
  snapshot_id: context.operation?.snapshot_id ?? '',
  children: context.operation?.children.length ?? 0,
  budget_ms: saveBudgetMs(context.spec.memory_mb),
});

const inspection = (state: string): EffectDefinition<SandboxContext> => ({
  while: state,
  input: target,
  results: ['INSPECTED', 'HOST_LOST'],
  retry: BRIEFLY,
  gaveUp: (_error, input) => lost(input),
});

/** Safe where the host may still be at work on it: what is true is told by its next inventory. */
const lost = (input: Json): HostLost => ({ type: 'HOST_LOST', host_id: (input as VmTarget).host_id });

const branch = (state: string): EffectDefinition<SandboxContext> => ({
  while: state,
  input: branchInput,
  results: ['BRANCHED', 'BRANCH_FAILED'],
  retry: WHILE_EXPECTED,
  gaveUp: ({ code, message }, input): BranchFailed => ({
    type: 'BRANCH_FAILED',
    incarnation: (input as VmBranchInput).incarnation,
    code,
    message,
  }),
});

export const sandboxEffects: { [Name in keyof SandboxEffects]: EffectDefinition<SandboxContext> } = {
  'sandbox.place': {
    while: 'placing',
    input: placement,
    results: ['RESERVED', 'PLACE_FAILED'],
    retry: WHILE_EXPECTED,
    gaveUp: ({ code, message }): PlaceFailed => ({ type: 'PLACE_FAILED', code, message }),
  },
  'vm.create': {
    while: 'starting',
    input: (context): VmCreateInput => ({
      ...target(context),
      spec: vmSpec(context),
      budget_ms: START_BUDGET_MS,
      snapshot_id: context.spec.snapshot?.id ?? null,
    }),
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
  'vm.inspect': inspection('starting.inspecting'),
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
  'vm.pause': {
    while: 'pausing',
    input: (context): VmPauseInput => ({
      ...target(context),
      if_idle_ms: context.pause_cause === 'idle' ? context.spec.timeout_sec * 1000 : null,
      budget_ms: saveBudgetMs(context.spec.memory_mb),
    }),
    results: ['VM_PAUSED', 'PAUSE_FAILED', 'ACTIVE'],
    retry: WHILE_EXPECTED,
    gaveUp: (_error, input) => lost(input),
  },
  'vm.inspect_pause': inspection('pausing.inspecting'),
  'sandbox.reserve': {
    while: 'resuming.reserving',
    input: (context): PlaceInput => ({ ...placement(context), host_id: context.host_id }),
    results: ['RESERVED', 'PLACE_FAILED'],
    retry: WHILE_EXPECTED,
    gaveUp: ({ code, message }): PlaceFailed => ({ type: 'PLACE_FAILED', code, message }),
  },
  'vm.resume': {
    while: 'resuming.restoring',
    input: (context): VmResumeInput => ({
      ...target(context),
      spec: vmSpec(context),
      from_incarnation: context.paused_incarnation,
      budget_ms: RESUME_BUDGET_MS,
    }),
    results: ['VM_READY', 'VM_FAILED'],
    retry: WHILE_EXPECTED,
    gaveUp: (_error, input) => lost(input),
  },
  'vm.inspect_resume': inspection('resuming.restoring.inspecting'),
  'vm.snapshot': branch('running.operation.snapshotting'),
  'vm.fork': branch('running.operation.forking'),
  'vm.snapshot_paused': branch('paused.operation.snapshotting'),
  'vm.fork_paused': branch('paused.operation.forking'),
  'vm.destroy': {
    while: 'stopping',
    input: target,
    results: ['RELEASED'],
    retry: FOR_EVER,
    // Only a person gives this up: he says that the host holds nothing.
    gaveUp: (_error, input): Released => ({ type: 'RELEASED', incarnation: (input as VmTarget).incarnation }),
  },
};
