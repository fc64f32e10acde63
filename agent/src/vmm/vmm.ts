import type { SandboxFiles } from '../files.ts';
import type { DiskBranch, Drive } from '../rootfs/store.ts';

/** What a VM is made of. The disk exists; the rest of the folder is the driver's to fill. */
export interface MachineSpec {
  readonly vmId: string;
  readonly files: SandboxFiles;
  readonly vcpus: number;
  readonly memoryMb: number;
  readonly hostname: string;
  /**
   * `kernel`: the guest boots, its memory its own. `template`: the same, its memory in the file `base.mem`, which becomes
   * the base of a boot snapshot. `frozen`: the VMM waits to be restored.
   */
  readonly start: 'kernel' | 'template' | 'frozen';
  readonly drive: Drive;
  /** Digest of the VMM that a frozen one needs; null: the agent's own. */
  readonly vmmDigest: string | null;
  /** Number of the network slot (NET1): gives the namespace, the user and the control group. */
  readonly slot: number;
}

/** A process that cannot be mistaken for a later one with the same number. `startTime` is in clock ticks since boot. */
export interface VmmProcess {
  readonly pid: number;
  readonly startTime: number;
}

/** How a VMM ended. Both null when it was not our child: then its end could only be seen. */
export interface VmmExit {
  readonly code: number | null;
  readonly signal: number | null;
}

/** `unknown`: the process lives but its control socket does not answer. */
export type AdoptedStatus = 'running' | 'paused' | 'unknown' | 'gone';

/** A VMM that runs, and where its files are. */
export interface LiveVmm {
  readonly process: VmmProcess;
  readonly files: SandboxFiles;
}

/** `waiting`: for what it is to be restored from. */
export type VmmStatus = 'running' | 'stopped' | 'waiting';

/** Measures a phase of a start, by name. */
export type Measure = <Result>(phase: string, work: () => Promise<Result>) => Promise<Result>;

export type FreezePurpose = 'boot' | 'pause' | 'branch';

/** One freeze of a VM: made while it still runs, closed whatever happens. */
export interface Freezer {
  /**
   * Stops the vCPUs, takes what is needed of memory, and has the devices' state written to `run/devices`. After a branch
   * the VM runs on, in the layers that its disk goes on in, and `wake` is called when it is about to; what that fails with
   * the freeze fails with. Resolves with the milliseconds that the vCPUs stood still, or stand.
   */
  freeze(wake: () => Promise<void>): Promise<{ readonly freezeMs: number; readonly changedBytes: number }>;
  /**
   * Writes what changed since the last of these generations as `dir`/`name`. Not of a template's boot: all of its memory
   * becomes a base when the VMM is gone (`publishBase`).
   */
  publish(chain: readonly string[], dir: string, name: string): Promise<void>;
  /** Writes all of memory as `dir`/`name`, a base of its own. */
  publishFlat(chain: readonly string[], dir: string, name: string): Promise<void>;
  /**
   * Null: the VMM says at each freeze what changed since it was started. Else it says so since the last freeze only, and a
   * VM that runs on must have what was published in its own chain; this tells that it has. Without, the next freeze takes
   * all of memory.
   */
  readonly kept: (() => Promise<void>) | null;
  close(): void;
}

/** Which VMM this agent runs, as shown in logs, API and console (VM4); a snapshot names it (SN12). */
export interface VmmIdentity {
  readonly name: 'qemu' | 'firecracker';
  readonly version: string;
  /** SHA-256 over everything that it consists of. */
  readonly digest: string;
  readonly acceleration: 'kvm' | 'tcg';
}

/** See `SnapshotInfo.needs` of the protocol. */
export type SnapshotNeeds = Readonly<Record<string, string>>;

/**
 * One virtual machine monitor. The VM outlives this program (VM3): whatever a driver knows of a running VM it can find
 * again from the VM's folder and the process's identity.
 */
export interface Vmm {
  readonly identity: VmmIdentity;
  /** What a snapshot made here needs to run (SN12), in words that are compared. */
  readonly needs: SnapshotNeeds;
  /** Why a snapshot with these needs cannot run here; null: it can. */
  refusal(needs: SnapshotNeeds): Promise<string | null>;
  /** Starts the VMM and resolves once the process runs; it does not wait for the guest. */
  boot(machine: MachineSpec, signal: AbortSignal): Promise<VmmProcess>;
  /**
   * Sets one going, whatever it does: one that waits gets its memory (generations, oldest first) and its devices. Resolves
   * with what it did before.
   */
  resume(vmm: LiveVmm, chain: readonly string[], measure: Measure, signal: AbortSignal): Promise<VmmStatus>;
  stop(files: SandboxFiles, signal: AbortSignal): Promise<void>;
  /** Sets one going whose freeze came to nothing. Resolves with the layers of its disk: one more than these, or these. */
  recover(files: SandboxFiles, layers: readonly string[], signal: AbortSignal): Promise<readonly string[]>;
  /**
   * Prepares a freeze; the disk is that of a branch. It holds the VMM's control socket until the freeze is over, or it
   * is closed. What it leaves of a branch that comes to nothing is for `recover`.
   */
  freezer(vmm: LiveVmm, purpose: FreezePurpose, disk: DiskBranch | null, signal: AbortSignal): Promise<Freezer>;
  /** The memory that the boot of a template left, whose VMM is gone, becomes `base.mem`. */
  publishBase(files: SandboxFiles, memoryMb: number): Promise<void>;
  /** Ends it: asks first, kills after 10 s (VM2). Resolves when the process is gone; one that is not there is fine. */
  destroy(process: VmmProcess): Promise<void>;
  /** Calls back once when the process has ended, at once if it has. A later watch of the same process replaces this one. */
  watch(process: VmmProcess, ended: (exit: VmmExit) => void): void;
  /**
   * Calls back whenever the VMM stops its guest because a write found no room on this host, at once if it stands so.
   * Resolves when the VMM has ended; at once where a VMM never does that.
   */
  watchStalls(files: SandboxFiles, stalled: () => void, signal: AbortSignal): Promise<void>;
  /** Sets a guest going that stands so; the write is repeated. */
  endStall(files: SandboxFiles, signal: AbortSignal): Promise<void>;
  /** What a VM that an earlier agent started is doing now. */
  adopt(process: VmmProcess, files: SandboxFiles, signal: AbortSignal): Promise<AdoptedStatus>;
  /** What really runs: the live VMMs of this agent's root folder by VM id, for adoption and for orphans. */
  running(): Promise<ReadonlyMap<string, VmmProcess>>;
}
