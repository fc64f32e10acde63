import type { EffectDefinition, RetryPolicy } from '@wrenn/core';
import type {
  Disk,
  GuestReady,
  Slot,
  StepFailed,
  Undone,
  VmAdmitted,
  VmContext,
  VmmProcess,
  VmmStarted,
  VmRootfsReady,
  VmSlotReady,
  VmSpec,
  VmStep,
  VmUndo,
} from './events.ts';

export type Incarnation = { sandbox_id: string; incarnation: number };
export type AdmitInput = Incarnation & { vcpus: number; memory_mb: number };
export type SlotInput = Incarnation;
export type RootfsInput = Incarnation & { template: string; disk_size_mb: number };
export type LaunchInput = Incarnation & { spec: VmSpec; slot: Slot; disk: Disk };
export type AwaitGuestInput = Incarnation & { spec: VmSpec; slot: Slot; vmm: VmmProcess };
/** Null where the step had begun but its result was never committed: the handler finds the thing by sandbox id. */
export type KillInput = Incarnation & { vmm: VmmProcess | null };
export type UnrootInput = Incarnation & { disk: Disk | null };
export type UnslotInput = Incarnation & { slot: Slot | null };

/**
 * What the agent's handlers are given and return. A step that fails for good returns STEP_FAILED (with `retryable` =
 * another host may succeed) or throws `TerminalError`; anything else thrown is tried again, so every step must tolerate
 * that it was already done, and every undo that the thing is absent.
 * An aborted step may still be running when its undo begins: handlers of one vm must run one after the other.
 */
export type VmEffects = {
  /** Waits for a free place among the cold boots. A place is taken while a vm is `preparing` or `booting`. */
  'vm.admit': { input: AdmitInput; result: VmAdmitted | StepFailed };
  'vm.slot': { input: SlotInput; result: VmSlotReady | StepFailed };
  'vm.rootfs': { input: RootfsInput; result: VmRootfsReady | StepFailed };
  'vm.launch': { input: LaunchInput; result: VmmStarted | StepFailed };
  'vm.await_guest': { input: AwaitGuestInput; result: GuestReady | StepFailed };
  'vm.kill': { input: KillInput; result: Undone };
  'vm.unroot': { input: UnrootInput; result: Undone };
  'vm.unslot': { input: UnslotInput; result: Undone };
};

/** Three tries ride out a busy kernel; what still fails then is a failed start, perhaps good on another host. */
const STEP: RetryPolicy = { attempts: 3, firstDelayMs: 100, factor: 3, maxDelayMs: 1_000 };
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

export const vmEffects: { [Name in keyof VmEffects]: EffectDefinition<VmContext> } = {
  'vm.admit': {
    while: 'queued',
    input: (context): AdmitInput => {
      const { vcpus, memory_mb } = must(context.spec, 'spec');
      return { ...incarnationOf(context), vcpus, memory_mb };
    },
    results: ['ADMITTED', 'STEP_FAILED'],
    retry: WAIT,
    gaveUp: failed('admit'),
  },
  'vm.slot': {
    while: 'preparing.slot',
    input: incarnationOf,
    results: ['SLOT_READY', 'STEP_FAILED'],
    retry: STEP,
    gaveUp: failed('slot'),
  },
  'vm.rootfs': {
    while: 'preparing.rootfs',
    input: (context): RootfsInput => {
      const { template, disk_size_mb } = must(context.spec, 'spec');
      return { ...incarnationOf(context), template, disk_size_mb };
    },
    results: ['ROOTFS_READY', 'STEP_FAILED'],
    retry: STEP,
    gaveUp: failed('rootfs'),
  },
  'vm.launch': {
    while: 'preparing.launch',
    input: (context): LaunchInput => ({
      ...incarnationOf(context),
      spec: must(context.spec, 'spec'),
      slot: must(context.slot, 'slot'),
      disk: must(context.disk, 'disk'),
    }),
    results: ['VMM_STARTED', 'STEP_FAILED'],
    retry: STEP,
    gaveUp: failed('launch'),
  },
  'vm.await_guest': {
    while: 'booting',
    input: (context): AwaitGuestInput => ({
      ...incarnationOf(context),
      spec: must(context.spec, 'spec'),
      slot: must(context.slot, 'slot'),
      vmm: must(context.vmm, 'vmm'),
    }),
    results: ['GUEST_READY', 'STEP_FAILED'],
    retry: WAIT,
    gaveUp: failed('await_guest'),
  },
  'vm.kill': {
    while: 'releasing.kill',
    input: (context): KillInput => ({ ...incarnationOf(context), vmm: context.vmm }),
    results: ['UNDONE'],
    retry: UNDO,
    gaveUp: undone('kill'),
  },
  'vm.unroot': {
    while: 'releasing.unroot',
    input: (context): UnrootInput => ({ ...incarnationOf(context), disk: context.disk }),
    results: ['UNDONE'],
    retry: UNDO,
    gaveUp: undone('unroot'),
  },
  'vm.unslot': {
    while: 'releasing.unslot',
    input: (context): UnslotInput => ({ ...incarnationOf(context), slot: context.slot }),
    results: ['UNDONE'],
    retry: UNDO,
    gaveUp: undone('unslot'),
  },
};
