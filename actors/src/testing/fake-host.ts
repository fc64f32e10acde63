import assert from 'node:assert/strict';
import type { DomainEvent } from '@wrenn/core';
import type { VmFacts } from '../sandbox/events.ts';
import { admitIncarnation } from '../vm/admission.ts';
import { vmDefinition } from '../vm/definition.ts';
import type { VmContext, VmUndo } from '../vm/events.ts';
import { vmReport } from '../vm/project.ts';
import { ActorInMemory, type Clock } from './actor-in-memory.ts';
import { checkActor } from './invariants.ts';
import { createVm, destroyVm, vmSpec } from './samples.ts';

type Vm = ActorInMemory<VmContext>;

/** What each step makes in the kernel, and the undo that removes it. */
const MAKES: Readonly<Record<string, VmUndo>> = { 'vm.slot': 'unslot', 'vm.rootfs': 'unroot', 'vm.launch': 'kill' };

/**
 * A host: real `vm` actors over a pretended kernel. It does what an agent does: admits incarnations, works effects off,
 * reports every commit in order, and after a restart makes actors and kernel agree.
 */
export class FakeHost {
  readonly id: string;
  readonly storeId: string;
  readonly vms = new Map<string, Vm>();
  /** What the kernel holds of each vm, named by its undo. */
  readonly kernel = new Map<string, Set<VmUndo>>();
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

  /** `CreateSandbox` as it arrives; null where it is refused. */
  create(sandboxId: string, incarnation: number, key: string): { refused: string | null } {
    const admission = admitIncarnation(this.#known(sandboxId), { incarnation, epoch: 1 });
    if (!admission.admit) return { refused: admission.code };
    const spec = { ...vmSpec, hostname: sandboxId };
    const vm = this.#vm(sandboxId, incarnation);
    this.#send(vm, { ...createVm(incarnation), sandbox_id: sandboxId, key, spec }, `create:${key}`);
    return { refused: null };
  }

  destroy(sandboxId: string, incarnation: number, key: string): void {
    const vm = this.#vm(sandboxId, incarnation);
    this.#send(vm, { ...destroyVm(incarnation), sandbox_id: sandboxId, key }, `destroy:${key}`);
  }

  answer(sandboxId: string, incarnation: number, messageId: string) {
    return this.vms.get(`${sandboxId}.${incarnation}`)?.answers.get(messageId)?.[0];
  }

  /** The latest incarnation of each sandbox, or of one. */
  facts(sandboxId: string): VmFacts {
    const latest = [...this.vms.values()]
      .filter(({ context }) => context.sandbox_id === sandboxId)
      .sort((a, b) => b.context.incarnation - a.context.incarnation)[0];
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
  work(vm: Vm, ending: 'done' | 'failed' | 'agent dies'): void {
    const [effect] = vm.effects;
    if (!effect) return;
    const { name } = effect;
    const undo = name.slice('vm.'.length) as VmUndo;
    const isUndo = Object.values(MAKES).includes(undo);
    if (isUndo) this.#held(vm).delete(undo);
    else if (ending !== 'failed' && MAKES[name]) this.#held(vm).add(MAKES[name]);
    if (ending === 'agent dies') {
      this.restart();
      return;
    }
    if (ending === 'failed' && isUndo) return; // thrown: it is tried again
    const result = ending === 'failed' ? this.#failure(name) : this.#result(name, undo);
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
      if (vm.view.done || vm.context.vmm === null || vm.path.startsWith('releasing')) continue;
      if (this.#held(vm).has('kill')) this.#send(vm, { type: 'ADOPTED' });
      else this.#send(vm, { type: 'VMM_EXITED', code: null, signal: null, console_tail: '' });
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
    }
  }

  #known(sandboxId: string) {
    return [...this.vms.values()]
      .filter(({ context }) => context.sandbox_id === sandboxId)
      .map(({ context, view }) => ({
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

  #vm(sandboxId: string, incarnation: number): Vm {
    const id = `${sandboxId}.${incarnation}`;
    return this.vms.get(id) ?? new ActorInMemory(vmDefinition, id, this.#clock);
  }

  #send(vm: Vm, event: DomainEvent, id?: string, effectKey?: string): void {
    vm.send(event, { ...(id !== undefined && { id }), ...(effectKey !== undefined && { effectKey }) });
    this.vms.set(vm.ref.id, vm);
    this.#committed(vm);
  }

  #committed(vm: Vm): void {
    this.cursor += 1;
    const { sandbox_id, ...facts } = vmReport(vm.view);
    this.reports.push({ sandboxId: sandbox_id, facts: { ...facts, store_id: this.storeId, cursor: this.cursor } });
  }

  #failure(name: string): DomainEvent {
    const step = name.slice('vm.'.length) as 'slot';
    return {
      type: 'STEP_FAILED',
      step,
      code: 'no_space',
      message: 'the disk is full',
      retryable: this.cursor % 2 === 0,
    };
  }

  #result(name: string, undo: VmUndo): DomainEvent {
    this.#slots += 1;
    switch (name) {
      case 'vm.admit':
        return { type: 'ADMITTED' };
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
        return { type: 'GUEST_READY', timings_ms: { boot: 1 } };
      default:
        return { type: 'UNDONE', step: undo };
    }
  }
}
