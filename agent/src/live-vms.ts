import type { Front } from './front.ts';
import { Guest } from './guest/guest.ts';
import type { VmmProcess } from './vmm/vmm.ts';

export interface VmFacts {
  readonly vmId: string;
  readonly sandboxId: string;
  readonly incarnation: number;
  readonly hostIp: string;
  readonly accessToken: string;
  readonly process: VmmProcess;
}

export interface LiveVm extends VmFacts {
  readonly guest: Guest;
}

/** The VMs whose guest can be spoken to: connections to envd, and the routes of the byte path. */
export class LiveVms {
  readonly #byId = new Map<string, LiveVm>();
  /** Which VM of a sandbox the byte path leads to. */
  readonly #open = new Map<string, string>();
  readonly #front: Front;
  readonly #opened: (vm: LiveVm) => void;

  constructor(front: Front, opened: (vm: LiveVm) => void) {
    this.#front = front;
    this.#opened = opened;
  }

  add(facts: VmFacts): LiveVm {
    const known = this.#byId.get(facts.vmId);
    if (known !== undefined) return known;
    const vm = { ...facts, guest: new Guest(facts.hostIp, facts.accessToken) };
    this.#byId.set(facts.vmId, vm);
    return vm;
  }

  get(vmId: string): LiveVm | undefined {
    return this.#byId.get(vmId);
  }

  /** Those of sandboxes, to which the byte path leads. */
  all(): LiveVm[] {
    return [...this.#open.values()].flatMap((vmId) => this.#byId.get(vmId) ?? []);
  }

  /** The VM of a sandbox whose guest is ready; undefined: there is none here. */
  ready(sandboxId: string): LiveVm | undefined {
    const vmId = this.#open.get(sandboxId);
    return vmId === undefined ? undefined : this.#byId.get(vmId);
  }

  /** From now on the byte path leads to this VM. */
  open(vm: LiveVm): void {
    this.#open.set(vm.sandboxId, vm.vmId);
    this.#front.open(vm);
    this.#opened(vm);
  }

  /** As `shut`, but what is under way may end within `limitMs` (drain before a pause). */
  async drain(vmId: string, limitMs: number): Promise<void> {
    const vm = this.#byId.get(vmId);
    if (vm === undefined || this.#open.get(vm.sandboxId) !== vmId) return;
    await this.#front.drain(vm.sandboxId, limitMs);
    this.#open.delete(vm.sandboxId);
  }

  /** Ends the byte path; the guest can still be spoken to. A VM that is not there is fine. */
  shut(vmId: string): void {
    const vm = this.#byId.get(vmId);
    if (vm === undefined || this.#open.get(vm.sandboxId) !== vmId) return;
    this.#open.delete(vm.sandboxId);
    this.#front.shut(vm.sandboxId);
  }

  /** Ends the byte path and the connections. A VM that is not there is fine. */
  remove(vmId: string): void {
    const vm = this.#byId.get(vmId);
    if (vm === undefined) return;
    this.shut(vmId);
    this.#byId.delete(vmId);
    vm.guest.close();
  }

  /** Closes what is ours; the VMs live on. */
  close(): void {
    for (const vmId of [...this.#byId.keys()]) this.remove(vmId);
  }
}
