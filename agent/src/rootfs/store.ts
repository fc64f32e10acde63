import type { SandboxFiles } from '../files.ts';

export interface DiskSpec {
  readonly template: string;
  readonly sizeMb: number;
  /** The user that the VMM runs as; the only one besides root that may open the disk. */
  readonly owner: number;
}

export interface Disk {
  readonly path: string;
  /** What the guest sees (FS4). */
  readonly sizeBytes: number;
}

/** Where root file systems of sandboxes come from. Chosen at start, shown in logs, API and console (FS3). */
export interface RootfsStore {
  readonly name: string;
  /** Makes the disk of one VM, or makes it anew where an interrupted attempt left something. */
  create(files: SandboxFiles, spec: DiskSpec, signal: AbortSignal): Promise<Disk>;
  /** Removes it; fine when it is not there. The VMM must be gone (FS2). */
  remove(files: SandboxFiles): Promise<void>;
  /** Bytes that the disk takes on the host: allocated, not apparent (FS6). 0 when it is not there. */
  usedBytes(files: SandboxFiles): Promise<number>;
}
