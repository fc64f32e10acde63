import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';

/** Longest `WRENN_DIR`: a Unix socket's path has 107 bytes, of which `sandboxes/<vm id>/run/qmp.sock` takes 50. */
const LONGEST_ROOT = 56;

/** Where everything of one agent lives (`WRENN_DIR`, spec §0). Two agents of one machine have two of these. */
export class AgentFiles {
  readonly root: string;

  constructor(root: string) {
    this.root = resolve(root);
    if (this.root.length > LONGEST_ROOT) {
      throw new Error(`WRENN_DIR ${this.root} is longer than ${LONGEST_ROOT} characters: sockets in it would not open`);
    }
  }

  get kernels(): string {
    return join(this.root, 'kernels');
  }
  get images(): string {
    return join(this.root, 'images');
  }
  get sandboxes(): string {
    return join(this.root, 'sandboxes');
  }
  /** Frozen VMs from which others start: named snapshots, forks and boot snapshots (docs/snapshots.md). */
  get snapshots(): string {
    return join(this.root, 'snapshots');
  }
  /** VMMs by digest, each with all that it needs to run: a snapshot is bound to one. */
  get vmms(): string {
    return join(this.root, 'vmm');
  }
  /** The time stamp counter's frequency as guests were told it. */
  get tsc(): string {
    return join(this.root, 'tsc_khz');
  }
  get journal(): string {
    return join(this.root, 'journal');
  }
  /** Device nodes that VMMs may open; nobody else gets into this folder. */
  get devices(): string {
    return join(this.root, 'dev');
  }
  get credentials(): string {
    return join(this.root, 'host-credentials.json');
  }
  /** What the host shows with a registration token (registration/registration-key.ts). */
  get registrationKey(): string {
    return join(this.root, 'registration-key');
  }
  get socket(): string {
    return join(this.root, 'agent.sock');
  }

  /** The folder of one VM; `vmId` is `<sandbox id>.<incarnation>`, so that no start meets files of another. */
  sandbox(vmId: string): SandboxFiles {
    return new SandboxFiles(join(this.sandboxes, vmId));
  }

  /** The folder of one snapshot; the id was checked. */
  snapshot(id: string): FrozenFiles {
    return new FrozenFiles(join(this.snapshots, id));
  }

  /** Everything but the images is root's alone. A VMM sees its own folder, by the mount that it is given. */
  async prepare(): Promise<void> {
    await mkdir(this.root, { recursive: true, mode: 0o755 });
    await mkdir(this.images, { recursive: true, mode: 0o755 });
    for (const folder of [this.sandboxes, this.snapshots, this.vmms, this.journal, this.devices]) {
      await mkdir(folder, { recursive: true, mode: 0o700 });
    }
  }
}

/**
 * A frozen VM as files (docs/contracts.md, "Files of a snapshot"). Each is a hard link of the folder's own, is never
 * changed in place, and `manifest.json` names them all.
 */
export class FrozenFiles {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  at(name: string): string {
    return join(this.folder, name);
  }

  /** What guest memory is a private mapping of (generation 0): nothing but a hole after a cold boot. */
  get memory(): string {
    return this.at(MEMORY);
  }
  /** State of the VMM's devices, without memory. */
  get devices(): string {
    return this.at('devices');
  }
  get manifest(): string {
    return this.at('manifest.json');
  }
}

export const MEMORY = 'base.mem';
/** Which pages a guest touched the last time: a hint for the server of its memory, which may be missing (SN6). */
export const WORKING_SET = 'working-set';

/** Where a disk is a block device: its node, and its name for the kernel (rootfs/dm.ts). */
export const DISK_DEVICE = 'disk';
export const DISK_ID = 'disk.dm';

/** Disk layers, oldest first: 0 is the image, each later one an overlay on the one before. */
export function layerName(index: number): string {
  return `disk-${index}`;
}

/**
 * The files of one VM: as the agent names them, or (`seenByVmm`) as its VMM does. The folder is root's and the VMM may
 * create files in `run/` only, so nothing that the agent reads can be swapped for something else.
 */
export class SandboxFiles extends FrozenFiles {
  /** What it was started from, and which layers its disk has: the manifest of the next snapshot grows from it. */
  get lineage(): string {
    return this.at('lineage.json');
  }
  /** What a pause or branch has saved and not yet published. */
  get saving(): SavingFiles {
    return new SavingFiles(this.at('saving'));
  }
  /** What the guest wrote to its serial line. */
  get console(): string {
    return this.at('console.log');
  }
  /** What the VMM itself had to say. */
  get log(): string {
    return this.at('vmm.log');
  }
  get run(): string {
    return this.at('run');
  }
  get qmp(): string {
    return join(this.run, 'qmp.sock');
  }
  /** A second control socket, for whoever waits for events. */
  get events(): string {
    return join(this.run, 'evt.sock');
  }
  /** The VMM writes the state of its devices here, the agent takes it from here. */
  get devicesInRun(): string {
    return join(this.run, 'devices');
  }
}

/** The workplace of one pause or branch. */
export class SavingFiles extends FrozenFiles {
  /** Facts that must outlive the agent: the key that thaws the guest. */
  get notes(): string {
    return this.at('notes.json');
  }
}
