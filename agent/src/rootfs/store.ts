import type { FrozenFiles, SandboxFiles } from '../files.ts';

export interface DiskSpec {
  readonly template: string;
  readonly sizeMb: number;
  /** The user that the VMM runs as; the only one besides root that may open the disk. */
  readonly owner: number;
}

export interface Disk {
  readonly path: string;
  /** Names of its layers, oldest first; the guest writes to the last. */
  readonly layers: readonly string[];
}

/** What a VMM gives its guest as a disk, by the name that it has in the VM's folder. */
export interface Drive {
  readonly name: string;
  readonly format: 'qcow2' | 'raw';
}

/** A disk that a snapshot and a VM that runs on part from. */
export interface DiskBranch {
  /** Layers of the snapshot. */
  readonly frozen: readonly string[];
  /** Layers that the VM goes on in. One more than were frozen: its VMM adds that one while the VM stands still. */
  readonly going: readonly string[];
  /** What the store does while the VM stands still and nothing is written any more. */
  cut(): Promise<void>;
}

/** Where root file systems of sandboxes come from. Chosen at start, shown in logs, API and console (FS3). */
export interface RootfsStore {
  readonly name: string;
  /** Makes the disk of one VM from an image, or makes it anew where an interrupted attempt left something. */
  create(files: SandboxFiles, spec: DiskSpec): Promise<Disk>;
  /** The disk of a VM that is restored: links to the frozen layers, and an empty one on top. */
  restore(
    files: SandboxFiles,
    from: { readonly files: FrozenFiles; readonly layers: readonly string[] },
    spec: Pick<DiskSpec, 'owner' | 'sizeMb'>,
  ): Promise<Disk>;
  /** The disk of these layers, as its VMM opens it. */
  drive(layers: readonly string[]): Drive;
  /** Prepares a branch of the disk of a VM that runs. */
  branch(files: SandboxFiles, layers: readonly string[], spec: Pick<DiskSpec, 'owner' | 'sizeMb'>): Promise<DiskBranch>;
  /** Removes what a branch left that came to nothing. The VM runs on in these layers. */
  settle(files: SandboxFiles, layers: readonly string[]): Promise<void>;
  /** Makes what the guest wrote to the top layer durable, so that stopping it costs nothing; the VM runs on. */
  flush(files: SandboxFiles, layers: readonly string[]): Promise<void>;
  /** The layers are not written any more: root's, read-only, durable. Too long a chain is merged into a new file. */
  freeze(files: SandboxFiles, layers: readonly string[], signal: AbortSignal): Promise<readonly string[]>;
  /** Writes what a guest would see of the layers as one sparse image (FS2). */
  flatten(files: FrozenFiles, layers: readonly string[], target: string, signal: AbortSignal): Promise<void>;
  /** Gives back what the kernel holds of a disk; its files stay, and one that is not there is fine. The VMM must be gone (FS2). */
  release(files: SandboxFiles): Promise<void>;
  /** The same of this agent's disks that are none of these VMs' (I5). */
  releaseOrphans(owned: readonly SandboxFiles[]): Promise<void>;
  /** Releases, and removes all layers; fine when none is there. The VMM must be gone (FS2). */
  remove(files: SandboxFiles): Promise<void>;
  /** Bytes that the VM's own top layer takes on the host: allocated, not apparent (FS6). 0 when it is not there. */
  usedBytes(files: SandboxFiles): Promise<number>;
}
