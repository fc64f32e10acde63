import type { SandboxFiles } from '../files.ts';

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
  /** The disk's top layer. */
  readonly topLayer: number;
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
  /** Whether its VMs can be frozen and restored. Without that every start is a cold boot. */
  readonly canFreeze: boolean;
  /** What a snapshot made here needs to run (SN12), in words that are compared. */
  readonly needs: SnapshotNeeds;
  /** Why a snapshot with these needs cannot run here; null: it can. */
  refusal(needs: SnapshotNeeds): Promise<string | null>;
  /** Starts the VMM and resolves once the process runs; it does not wait for the guest. */
  boot(machine: MachineSpec, signal: AbortSignal): Promise<VmmProcess>;
  /** Ends it: asks first, kills after 10 s (VM2). Resolves when the process is gone; one that is not there is fine. */
  destroy(process: VmmProcess): Promise<void>;
  /** Calls back once when the process has ended, at once if it has. A later watch of the same process replaces this one. */
  watch(process: VmmProcess, ended: (exit: VmmExit) => void): void;
  /** What a VM that an earlier agent started is doing now. */
  adopt(process: VmmProcess, files: SandboxFiles, signal: AbortSignal): Promise<AdoptedStatus>;
  /** What really runs: the live VMMs of this agent's root folder by VM id, for adoption and for orphans. */
  running(): Promise<ReadonlyMap<string, VmmProcess>>;
}
