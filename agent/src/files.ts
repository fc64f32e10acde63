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
  get socket(): string {
    return join(this.root, 'agent.sock');
  }

  /** The folder of one VM; `vmId` is `<sandbox id>.<incarnation>`, so that no start meets files of another. */
  sandbox(vmId: string): SandboxFiles {
    return new SandboxFiles(join(this.sandboxes, vmId));
  }

  /** Everything but the images is root's alone. A VMM sees its own folder, by the mount that it is given. */
  async prepare(): Promise<void> {
    await mkdir(this.root, { recursive: true, mode: 0o755 });
    await mkdir(this.images, { recursive: true, mode: 0o755 });
    for (const folder of [this.sandboxes, this.journal, this.devices]) {
      await mkdir(folder, { recursive: true, mode: 0o700 });
    }
  }
}

/**
 * The files of one VM: as the agent names them, or (`SandboxFiles.seenByVmm`) as its VMM does. The folder is root's and
 * the VMM may create files in `run/` only, so nothing that the agent reads can be swapped for something else.
 */
export class SandboxFiles {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  get disk(): string {
    return join(this.folder, 'disk.qcow2');
  }
  /** Hard link of the image: the disk outlives a new version of the image that takes its place. */
  get base(): string {
    return join(this.folder, 'base.ext4');
  }
  /** What the guest's memory is a private mapping of: nothing but a hole after a cold boot. */
  get memory(): string {
    return join(this.folder, 'memory');
  }
  /** What the guest wrote to its serial line. */
  get console(): string {
    return join(this.folder, 'console.log');
  }
  /** What the VMM itself had to say. */
  get log(): string {
    return join(this.folder, 'vmm.log');
  }
  get run(): string {
    return join(this.folder, 'run');
  }
  get qmp(): string {
    return join(this.run, 'qmp.sock');
  }
}
