import assert from 'node:assert/strict';
import type { DomainEvent } from '@wrenn/core';
import type { VmFacts } from '../sandbox/events.ts';
import { admitIncarnation } from '../vm/admission.ts';
import { vmDefinition } from '../vm/definition.ts';
import type { VmContext, VmSource, VmStep, VmUndo } from '../vm/events.ts';
import { vmReport } from '../vm/project.ts';
import { ActorInMemory, type Clock } from './actor-in-memory.ts';
import { checkActor } from './invariants.ts';
import { createVm, destroyVm, vmSpec } from './samples.ts';
import { snapshotInfo } from './snapshot-sample.ts';

type Vm = ActorInMemory<VmContext>;

/** What each step makes in the kernel, and the undo that removes it. */
const MAKES: Readonly<Record<string, VmUndo>> = { 'vm.slot': 'unslot', 'vm.rootfs': 'unroot', 'vm.launch': 'kill' };
/** Steps that speak to the VMM or its guest: without a process they fail. */
const NEEDS_VMM = ['vm.await_guest', 'vm.restore', 'vm.quiesce', 'vm.save', 'vm.branch', 'vm.continue'];
/** States in which a restarted agent finds a pause or a branch in the middle. */
const IN_THE_MIDDLE = ['branching', 'quiescing', 'saving'];

/**
 * A host: real `vm` actors over a pretended kernel. It does what an agent does: admits incarnations, works effects off,
 * keeps snapshots, reports every commit in order, and after a restart makes actors and kernel agree.
 */
export class FakeHost {
  readonly id: string;
  readonly storeId: string;
  readonly vms = new Map<string, Vm>();
  /** What the kernel holds of each vm, named by its undo. */
  readonly kernel = new Map<string, Set<VmUndo>>();
  /** Snapshots apart from those of paused incarnations. */
  readonly snapshots = new Set<string>();
  /** Ids that were deleted: what is still being made under one of them leaves nothing. */
  readonly #deletedSnapshots = new Set<string>();
  readonly reports: { sandboxId: string; facts: VmFacts }[] = [];
  reachable = true;
  /** Its agent was told to end (`Terminate`): it takes no call any more. */
  ended = false;
  /** Reports delivered to the control plane so far. */
  watched = 0;
  cursor = 0;
  #slots = 0;
  readonly #clock: Clock;

  constructor(id: string, clock: Clock) {
    this.id = id;
    this.storeId = `store-of-${id}`;
    this.#clock = clock;
  }

  /** `CreateSandbox` and `ResumeSandbox` as they arrive; with the reason where it is refused. */
  create(sandboxId: string, incarnation: number, key: string, source: VmSource): { refused: string | null } {
    const admission = admitIncarnation(this.#known(sandboxId), { incarnation, epoch: 1 });
    if (!admission.admit) return { refused: admission.code };
    if (!admission.join && !this.#has(sandboxId, source)) return { refused: 'snapshot_not_found' };
    const spec = { ...vmSpec, hostname: sandboxId };
    const vm = this.#vm(sandboxId, incarnation);
    this.#send(vm, { ...createVm(incarnation, source), sandbox_id: sandboxId, key, spec }, `create:${key}`);
    return { refused: null };
  }

  /** Of one incarnation and every earlier one, snapshots included. */
  destroy(sandboxId: string, incarnation: number, key: string): void {
    for (const vm of this.#incarnations(sandboxId)) {
      const { incarnation: one } = vm.context;
      if (one < incarnation && !vm.view.done) {
        this.#send(vm, { ...destroyVm(one), sandbox_id: sandboxId, key }, `destroy:${key}:${one}`);
      }
    }
    const vm = this.#vm(sandboxId, incarnation);
    this.#send(vm, { ...destroyVm(incarnation), sandbox_id: sandboxId, key }, `destroy:${key}`);
  }

  /** Whether a destroy of the incarnation is done. */
  isReleased(sandboxId: string, incarnation: number): boolean {
    return this.#incarnations(sandboxId).every((vm) => vm.view.done || vm.context.incarnation > incarnation);
  }

  /** `PauseSandbox`: false where there is no such VM, or it is busy: it is asked again. */
  pause(sandboxId: string, incarnation: number, key: string): boolean {
    const vm = this.vms.get(`${sandboxId}.${incarnation}`);
    if (!vm || vm.view.done || !vm.takes('PAUSE')) return false;
    return this.#send(vm, { type: 'PAUSE', sandbox_id: sandboxId, incarnation, key, epoch: 1 }, `pause:${key}`);
  }

  /** `CreateSnapshot` and `ForkSandbox`: of a paused one its files are linked at once. False where there is no such VM. */
  branch(sandboxId: string, incarnation: number, key: string, snapshot_id: string, children: number): boolean {
    const vm = this.vms.get(`${sandboxId}.${incarnation}`);
    if (vm?.path === 'paused') {
      this.#keep(snapshot_id);
      return true;
    }
    if (!vm || vm.view.done) return false;
    const command = { sandbox_id: sandboxId, incarnation, key, epoch: 1, snapshot_id, children };
    return this.#send(vm, { type: 'BRANCH', ...command }, `branch:${key}`);
  }

  deleteSnapshot(snapshotId: string): void {
    this.#deletedSnapshots.add(snapshotId);
    this.snapshots.delete(snapshotId);
  }

  answer(sandboxId: string, incarnation: number, messageId: string) {
    return this.vms.get(`${sandboxId}.${incarnation}`)?.answers.get(messageId)?.[0];
  }

  /** The latest incarnation that is there, else the latest grave. */
  facts(sandboxId: string): VmFacts {
    const all = this.#incarnations(sandboxId);
    const latest = all.findLast(({ view }) => !view.done) ?? all.at(-1);
    const origin = { store_id: this.storeId, cursor: this.cursor };
    if (!latest) return { incarnation: 0, status: 'gone', ...origin };
    const { sandbox_id: _, ...facts } = vmReport(latest.view);
    return { ...facts, ...origin };
  }

  /** Vms with something to do. */
  working(): Vm[] {
    return [...this.vms.values()].filter(({ effects }) => effects.length > 0);
  }

  /** Does the open effect of a vm, and delivers the result unless the agent dies first. */
  work(vm: Vm, wanted: 'done' | 'failed' | 'agent dies'): void {
    const [effect] = vm.effects;
    if (!effect) return;
    const { name } = effect;
    const isImpossible = NEEDS_VMM.includes(name) && !this.#held(vm).has('kill');
    const ending = isImpossible && wanted === 'done' ? 'failed' : wanted;
    const undo = name.slice('vm.'.length) as VmUndo;
    const isUndo = Object.values(MAKES).includes(undo);
    if (isUndo) this.#held(vm).delete(undo);
    else if (ending !== 'failed') this.#make(vm, name);
    if (ending === 'agent dies') {
      this.restart();
      return;
    }
    if (ending === 'failed' && isUndo) return; // thrown: it is tried again
    const result = ending === 'failed' ? this.#failure(name) : this.#result(vm, name, undo);
    this.#send(vm, result, undefined, vm.keyOf(effect));
  }

  /** The VMM process ends by itself. */
  kill(vm: Vm): void {
    if (!this.#held(vm).delete('kill')) return;
    this.#send(vm, { type: 'VMM_EXITED', code: null, signal: 'SIGKILL', console_tail: 'last words' });
  }

  /** kill -9 of the agent: VMs live on, actors come back as committed and are told what the kernel says. */
  restart(): void {
    for (const vm of this.vms.values()) {
      vm.restart();
      const top = vm.path.split('.', 1)[0] ?? '';
      if (vm.view.done || vm.context.vmm === null || ['releasing', 'paused'].includes(top)) continue;
      if (!this.#held(vm).has('kill')) {
        this.#send(vm, { type: 'VMM_EXITED', code: null, signal: null, console_tail: '' });
      } else this.#send(vm, { type: IN_THE_MIDDLE.includes(top) ? 'INTERRUPTED' : 'ADOPTED' });
    }
  }

  fire(vm: Vm, timer: Vm['timers'][number]): void {
    vm.fireTimer(timer);
    this.#committed(vm);
  }

  /** What the kernel holds is what live actors own, at any moment (I5). */
  check(): void {
    for (const vm of this.vms.values()) {
      checkActor(vm as never);
      for (const undo of this.#held(vm)) {
        assert(
          vm.context.undo.includes(undo),
          `${vm.ref.id} in ${vm.path}: the kernel holds what no list undoes: ${undo}`,
        );
      }
      if (vm.path === 'paused') assert.deepEqual([...this.#held(vm)], ['unroot'], `${vm.ref.id} is paused (I2)`);
    }
  }

  #incarnations(sandboxId: string): Vm[] {
    return [...this.vms.values()]
      .filter(({ context }) => context.sandbox_id === sandboxId)
      .sort((a, b) => a.context.incarnation - b.context.incarnation);
  }

  /** What it would be started from is here. */
  #has(sandboxId: string, source: VmSource): boolean {
    if (source.kind === 'snapshot') return this.snapshots.has(source.snapshot_id);
    if (source.kind !== 'paused') return true;
    return this.vms.get(`${sandboxId}.${source.incarnation}`)?.path === 'paused';
  }

  #known(sandboxId: string) {
    return this.#incarnations(sandboxId).map(({ context, view }) => ({
      incarnation: context.incarnation,
      epoch: context.epoch,
      status: vmReport(view).status,
    }));
  }

  #held(vm: Vm): Set<VmUndo> {
    const held = this.kernel.get(vm.ref.id) ?? new Set();
    this.kernel.set(vm.ref.id, held);
    return held;
  }

  #make(vm: Vm, name: string): void {
    const undo = MAKES[name];
    if (undo) this.#held(vm).add(undo);
    const { branch } = vm.context;
    if (name === 'vm.publish' && branch) this.#keep(branch.snapshot_id);
  }

  #keep(snapshotId: string): void {
    if (!this.#deletedSnapshots.has(snapshotId)) this.snapshots.add(snapshotId);
  }

  #vm(sandboxId: string, incarnation: number): Vm {
    const id = `${sandboxId}.${incarnation}`;
    return this.vms.get(id) ?? new ActorInMemory(vmDefinition, id, this.#clock);
  }

  /** True where it was taken. */
  #send(vm: Vm, event: DomainEvent, id?: string, effectKey?: string): boolean {
    const outcome = vm.send(event, { ...(id !== undefined && { id }), ...(effectKey !== undefined && { effectKey }) });
    this.vms.set(vm.ref.id, vm);
    this.#committed(vm);
    return outcome !== 'refused';
  }

  #committed(vm: Vm): void {
    this.cursor += 1;
    const { sandbox_id, ...facts } = vmReport(vm.view);
    this.reports.push({ sandboxId: sandbox_id, facts: { ...facts, store_id: this.storeId, cursor: this.cursor } });
    for (const { id, to, event } of vm.outbox.splice(0)) {
      const other = this.vms.get(to.id);
      if (other && !other.view.done) this.#send(other, event, id);
    }
  }

  #failure(name: string): DomainEvent {
    const step = name.slice('vm.'.length) as VmStep;
    return {
      type: 'STEP_FAILED',
      step,
      code: 'no_space',
      message: 'the disk is full',
      retryable: this.cursor % 2 === 0,
    };
  }

  #result(vm: Vm, name: string, undo: VmUndo): DomainEvent {
    this.#slots += 1;
    const timings_ms = { step: 1 };
    switch (name) {
      case 'vm.admit': {
        const { source, sandbox_id } = vm.context;
        if (source.kind === 'snapshot') return { type: 'ADMITTED', origin: { ...source } };
        if (source.kind !== 'paused') return { type: 'ADMITTED', origin: null };
        return { type: 'ADMITTED', origin: { kind: 'paused', vm_id: `${sandbox_id}.${source.incarnation}` } };
      }
      case 'vm.slot':
        return {
          type: 'SLOT_READY',
          index: this.#slots,
          host_ip: '10.11.0.1',
          guest_ip: '169.254.0.21',
          namespace: `wrenn-ns-${this.#slots}`,
        };
      case 'vm.rootfs':
        return { type: 'ROOTFS_READY', disk: { path: 'disk.qcow2', format: 'qcow2' } };
      case 'vm.launch':
        return { type: 'VMM_STARTED', pid: this.#slots, start_time: this.#slots };
      case 'vm.await_guest':
      case 'vm.restore':
        return { type: 'GUEST_READY', timings_ms };
      case 'vm.quiesce':
        return { type: 'QUIESCED', timings_ms };
      case 'vm.save':
        return { type: 'SAVED', timings_ms };
      case 'vm.branch':
        return { type: 'BRANCHED', timings_ms };
      case 'vm.publish': {
        const snapshot = { ...snapshotInfo, snapshot_id: vm.context.branch?.snapshot_id ?? '' };
        return { type: 'PUBLISHED', snapshot, timings_ms };
      }
      case 'vm.continue':
        return { type: 'CONTINUED' };
      default:
        return { type: 'UNDONE', step: undo };
    }
  }
}
