import type { EffectDefinition, RetryPolicy } from '@wrenn/core';
import type {
  ClaimLost,
  Disk,
  EgressPolicy,
  GuestReady,
  Slot,
  StepFailed,
  Undone,
  VmAdmitted,
  VmBranched,
  VmClaimed,
  VmContext,
  VmContinued,
  VmmProcess,
  VmmStarted,
  VmOrigin,
  VmPublished,
  VmPurpose,
  VmQuiesced,
  VmRootfsReady,
  VmSaved,
  VmSlotReady,
  VmSource,
  VmSpec,
  VmStep,
  VmUndo,
} from './events.ts';

export type Incarnation = { sandbox_id: string; incarnation: number };
export type AdmitInput = Incarnation & { spec: VmSpec; source: VmSource };
export type ClaimInput = Incarnation & { claim: string; egress: EgressPolicy | null };
/** `egress` is in force before the guest runs (NET4). */
export type SlotInput = Incarnation & { egress: EgressPolicy | null };
export type RootfsInput = Incarnation & { spec: VmSpec; origin: VmOrigin | null };
export type LaunchInput = Incarnation & {
  spec: VmSpec;
  slot: Slot;
  disk: Disk;
  origin: VmOrigin | null;
  purpose: VmPurpose;
};
export type AwaitGuestInput = Incarnation & { spec: VmSpec; slot: Slot; vmm: VmmProcess; purpose: VmPurpose };
export type RestoreInput = AwaitGuestInput & { origin: VmOrigin };
/** Of the steps of a pause, of a branch, and of the way back. */
export type FreezeInput = Incarnation & { spec: VmSpec; slot: Slot; vmm: VmmProcess; purpose: VmPurpose };
export type BranchInput = FreezeInput & { snapshot_id: string; children: number };
/** Where the snapshot goes: null = it stays in the incarnation's own folder, which is `paused` then. */
export type PublishInput = FreezeInput & { branch: { snapshot_id: string; children: number } | null };
/** `vmm` is null where the step had begun but its result was never committed: the handler finds the thing by its mark. */
export type KillInput = Incarnation & { vmm: VmmProcess | null; claim: string | null };
export type UnrootInput = Incarnation & { disk: Disk | null };
export type UnslotInput = Incarnation & { slot: Slot | null };

/**
 * What the agent's handlers are given and return. A step that fails for good returns STEP_FAILED (with `retryable` =
 * another host may succeed) or throws `TerminalError`; anything else thrown is tried again, so every step must tolerate
 * that it was already done, and every undo that the thing is absent.
 * An aborted step may still be running when its undo begins: handlers of one vm must run one after the other.
 */
export type VmEffects = {
  /**
   * Finds what it starts from: a cold boot waits for a free place among the cold boots (taken while a vm is `preparing` or
   * `booting`), a start from a template for the boot snapshot of its class, which is made on first use.
   */
  'vm.admit': { input: AdmitInput; result: VmAdmitted | StepFailed };
  'vm.claim': { input: ClaimInput; result: VmClaimed | ClaimLost };
  'vm.slot': { input: SlotInput; result: VmSlotReady | StepFailed };
  'vm.rootfs': { input: RootfsInput; result: VmRootfsReady | StepFailed };
  'vm.launch': { input: LaunchInput; result: VmmStarted | StepFailed };
  'vm.await_guest': { input: AwaitGuestInput; result: GuestReady | StepFailed };
  /** Memory and devices loaded, the guest told who it is, continued (SN11); a warm one is stopped again before that. */
  'vm.restore': { input: RestoreInput; result: GuestReady | StepFailed };
  'vm.quiesce': { input: FreezeInput; result: VmQuiesced | StepFailed };
  'vm.save': { input: FreezeInput; result: VmSaved | StepFailed };
  'vm.branch': { input: BranchInput; result: VmBranched | StepFailed };
  'vm.publish': { input: PublishInput; result: VmPublished | StepFailed };
  /** Makes a guest run on that was frozen or stopped; fine where it runs. PUBLISHED: its pause is found to be done. */
  'vm.continue': { input: FreezeInput; result: VmContinued | VmPublished | StepFailed };
  'vm.kill': { input: KillInput; result: Undone };
  'vm.unroot': { input: UnrootInput; result: Undone };
  'vm.unslot': { input: UnslotInput; result: Undone };
};

/** Three tries ride out a busy kernel; what still fails then is a failed start, perhaps good on another host. */
const STEP: RetryPolicy = { attempts: 3, firstDelayMs: 100, factor: 3, maxDelayMs: 1_000 };
/** A freeze is not tried twice: the guest stands still meanwhile, and runs on when it has failed. */
const ONCE: RetryPolicy = { attempts: 1, firstDelayMs: 100, factor: 1, maxDelayMs: 100 };
/** Waiting is not failing: the state's deadline ends it. */
const WAIT: RetryPolicy = { attempts: null, firstDelayMs: 100, factor: 2, maxDelayMs: 1_000 };
/** What the kernel holds must go (I5), however long it takes. */
const UNDO: RetryPolicy = { attempts: null, firstDelayMs: 100, factor: 2, maxDelayMs: 30_000 };

const incarnationOf = ({ sandbox_id, incarnation }: VmContext): Incarnation => ({ sandbox_id, incarnation });

/** The machine sets these before the step that needs them; a miss is a fault of the machine, not of its input. */
function must<Value>(value: Value | null, name: string): Value {
  if (value === null) throw new Error(`vm context lacks ${name}`);
  return value;
}

const freezeInput = (context: VmContext): FreezeInput => ({
  ...incarnationOf(context),
  spec: must(context.spec, 'spec'),
  slot: must(context.slot, 'slot'),
  vmm: must(context.vmm, 'vmm'),
  purpose: context.purpose,
});

const failed =
  (step: VmStep) =>
  ({ code, message }: { readonly code: string; readonly message: string }): StepFailed => ({
    type: 'STEP_FAILED',
    step,
    code,
    message,
    retryable: true,
  });

/** Only a person gives an undo up: he says that the kernel holds nothing of it. */
const undone = (step: VmUndo) => (): Undone => ({ type: 'UNDONE', step });

/**
 * Two syncs are enough for a start: the commit that names what must be undone, before anything is made (`vm.slot`; a claim is
 * durable by the answer to CLAIM, whose commit comes after ours), and the one that is told to the asker. All other work may begin once its commit is written: a crash of the
 * machine that takes a commit back takes the VM as well, and every step may be done again.
 */
export const vmEffects: { [Name in keyof VmEffects]: EffectDefinition<VmContext> } = {
  'vm.admit': {
    while: 'queued',
    start: 'written',
    input: (context): AdmitInput => ({
      ...incarnationOf(context),
      spec: must(context.spec, 'spec'),
      source: context.source,
    }),
    results: ['ADMITTED', 'STEP_FAILED'],
    retry: WAIT,
    gaveUp: failed('admit'),
  },
  'vm.claim': {
    while: 'preparing.claim',
    start: 'written',
    input: (context): ClaimInput => ({
      ...incarnationOf(context),
      claim: must(context.claim, 'claim'),
      egress: context.spec?.egress ?? null,
    }),
    results: ['CLAIMED', 'CLAIM_LOST'],
    retry: STEP,
    gaveUp: () => ({ type: 'CLAIM_LOST' }),
  },
  'vm.slot': {
    while: 'preparing.slot',
    input: (context): SlotInput => ({ ...incarnationOf(context), egress: context.spec?.egress ?? null }),
    results: ['SLOT_READY', 'STEP_FAILED'],
    retry: STEP,
    gaveUp: failed('slot'),
  },
  'vm.rootfs': {
    while: 'preparing.rootfs',
    start: 'written',
    input: (context): RootfsInput => ({
      ...incarnationOf(context),
      spec: must(context.spec, 'spec'),
      origin: context.origin,
    }),
    results: ['ROOTFS_READY', 'STEP_FAILED'],
    retry: STEP,
    gaveUp: failed('rootfs'),
  },
  'vm.launch': {
    while: 'preparing.launch',
    start: 'written',
    input: (context): LaunchInput => ({
      ...incarnationOf(context),
      spec: must(context.spec, 'spec'),
      slot: must(context.slot, 'slot'),
      disk: must(context.disk, 'disk'),
      origin: context.origin,
      purpose: context.purpose,
    }),
    results: ['VMM_STARTED', 'STEP_FAILED'],
    retry: STEP,
    gaveUp: failed('launch'),
  },
  'vm.await_guest': {
    while: 'booting',
    start: 'written',
    input: (context): AwaitGuestInput => freezeInput(context),
    results: ['GUEST_READY', 'STEP_FAILED'],
    retry: WAIT,
    gaveUp: failed('await_guest'),
  },
  'vm.restore': {
    while: 'restoring',
    start: 'written',
    input: (context): RestoreInput => ({ ...freezeInput(context), origin: must(context.origin, 'origin') }),
    results: ['GUEST_READY', 'STEP_FAILED'],
    retry: ONCE,
    gaveUp: failed('restore'),
  },
  'vm.quiesce': {
    while: 'quiescing',
    start: 'written',
    input: freezeInput,
    results: ['QUIESCED', 'STEP_FAILED'],
    retry: ONCE,
    gaveUp: failed('quiesce'),
  },
  'vm.save': {
    while: 'saving',
    start: 'written',
    input: freezeInput,
    results: ['SAVED', 'STEP_FAILED'],
    retry: ONCE,
    gaveUp: failed('save'),
  },
  'vm.branch': {
    while: 'branching.saving',
    start: 'written',
    input: (context): BranchInput => ({ ...freezeInput(context), ...must(context.branch, 'branch') }),
    results: ['BRANCHED', 'STEP_FAILED'],
    retry: ONCE,
    gaveUp: failed('branch'),
  },
  'vm.publish': {
    while: 'publishing',
    start: 'written',
    input: (context): PublishInput => ({ ...freezeInput(context), branch: context.branch }),
    results: ['PUBLISHED', 'STEP_FAILED'],
    retry: ONCE,
    gaveUp: failed('publish'),
  },
  'vm.continue': {
    while: 'continuing',
    start: 'written',
    input: freezeInput,
    results: ['CONTINUED', 'PUBLISHED', 'STEP_FAILED'],
    retry: STEP,
    gaveUp: failed('continue'),
  },
  'vm.kill': {
    while: 'releasing.kill',
    start: 'written',
    input: (context): KillInput => ({ ...incarnationOf(context), vmm: context.vmm, claim: context.claim }),
    results: ['UNDONE'],
    retry: UNDO,
    gaveUp: undone('kill'),
  },
  'vm.unroot': {
    while: 'releasing.unroot',
    start: 'written',
    input: (context): UnrootInput => ({ ...incarnationOf(context), disk: context.disk }),
    results: ['UNDONE'],
    retry: UNDO,
    gaveUp: undone('unroot'),
  },
  'vm.unslot': {
    while: 'releasing.unslot',
    start: 'written',
    input: (context): UnslotInput => ({ ...incarnationOf(context), slot: context.slot }),
    results: ['UNDONE'],
    retry: UNDO,
    gaveUp: undone('unslot'),
  },
};
