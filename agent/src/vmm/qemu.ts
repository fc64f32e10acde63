import { chmod, chown, type FileHandle, mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { allocate, cgroupCreate, processSpawn } from '@wrenn/addon';
import type { AgentFiles, SandboxFiles } from '../files.ts';
import { cgroupOf, namespaceOf, userOf } from '../slots/names.ts';
import type { DeviceMount } from './devices.ts';
import { markedProcesses, markOf } from './processes.ts';
import { type QemuPlatform, qemuArguments } from './qemu-arguments.ts';
import { VmmSession } from './session.ts';
import { refusalOf } from './snapshot-needs.ts';
import { seenByVmm } from './view.ts';
import type { AdoptedStatus, MachineSpec, SnapshotNeeds, Vmm, VmmExit, VmmIdentity, VmmProcess } from './vmm.ts';
import { vmmCommand } from './vmm-folder.ts';
import { endProcess, isLive, watchProcess } from './vmm-process.ts';

/** A VMM whose control socket is silent for so long is taken as hung, not as dead. */
const QMP_TIMEOUT_MS = 5_000;
/** What QEMU needs besides the guest's memory before its control group must stop it (design.md §5). */
const VMM_OVERHEAD_MB = 128;
/** QEMU's own threads work beside the vCPUs: without room for them a busy vCPU would starve its devices. */
const VMM_OVERHEAD_CPUS = 0.5;
/** Under TCG QEMU has a handful of threads per vCPU; a fork bomb of an escaped guest ends here. */
const VMM_TASKS = 256;
/** Before the agent and the machine's own services, which have 0 or less. */
const OOM_SCORE_ADJ = 500;
const MIB = 1 << 20;

export interface QemuOptions {
  readonly identity: VmmIdentity;
  /** The CPU that guests see, and what it depends on. */
  readonly cpu: string;
  readonly platform: QemuPlatform;
  readonly files: AgentFiles;
  readonly devices: readonly DeviceMount[];
}

/** VM4: QEMU's microvm machine, under a user, control group, network and mount namespace of its own (VM2). */
export class Qemu implements Vmm {
  readonly identity: VmmIdentity;
  readonly canFreeze = true;
  readonly #options: QemuOptions;

  constructor(options: QemuOptions) {
    this.identity = options.identity;
    this.#options = options;
  }

  get needs(): SnapshotNeeds {
    const { identity } = this;
    const { kernel, tscKhz } = this.#options.platform;
    return {
      vmm: identity.name,
      vmm_version: identity.version,
      vmm_digest: identity.digest,
      acceleration: identity.acceleration,
      cpu: this.#options.cpu,
      kernel: kernel.digest,
      tsc_khz: `${tscKhz}`,
    };
  }

  refusal(needs: SnapshotNeeds): Promise<string | null> {
    return refusalOf(needs, this.needs, this.#options.files.vmms);
  }

  async boot(machine: MachineSpec, signal: AbortSignal): Promise<VmmProcess> {
    const { platform, files, devices } = this.#options;
    const user = userOf(machine.slot);
    await prepareFolder(machine, user);
    const cgroup = await cgroupCreate({
      name: cgroupOf(machine.slot),
      memoryBytes: (machine.memoryMb + VMM_OVERHEAD_MB) * MIB,
      cpus: machine.vcpus + VMM_OVERHEAD_CPUS,
      pids: VMM_TASKS,
    });
    signal.throwIfAborted();
    return processSpawn({
      argv: [...vmmCommand(), ...qemuArguments(machine, platform)],
      env: markOf(files.root, machine.vmId),
      cwd: '/',
      netns: namespaceOf(machine.slot),
      mounts: [
        { source: machine.files.folder, target: seenByVmm.files.folder },
        { source: files.kernels, target: seenByVmm.kernels, readonly: true },
        {
          source: join(files.vmms, machine.vmmDigest ?? this.identity.digest),
          target: seenByVmm.vmm,
          readonly: true,
        },
        ...devices,
      ],
      cgroups: cgroup.paths,
      uid: user,
      gid: user,
      oomScoreAdj: OOM_SCORE_ADJ,
      stdout: machine.files.log,
      stderr: machine.files.log,
    });
  }

  destroy(process: VmmProcess): Promise<void> {
    return endProcess(process);
  }

  watch(process: VmmProcess, ended: (exit: VmmExit) => void): void {
    watchProcess(process, ended);
  }

  async adopt(process: VmmProcess, files: SandboxFiles, signal: AbortSignal): Promise<AdoptedStatus> {
    if (!(await isLive(process))) return 'gone';
    try {
      const patience = AbortSignal.any([signal, AbortSignal.timeout(QMP_TIMEOUT_MS)]);
      const status = await VmmSession.with(files, patience, (session) => session.status());
      return status === 'running' ? 'running' : 'paused';
    } catch {
      signal.throwIfAborted();
      return (await isLive(process)) ? 'unknown' : 'gone';
    }
  }

  running(): Promise<ReadonlyMap<string, VmmProcess>> {
    return markedProcesses(this.#options.files.root);
  }
}

/** Everything that the VMM opens: root's, but for what it must write. An earlier attempt's leftovers are replaced. */
async function prepareFolder({ files, memoryMb, start }: MachineSpec, user: number): Promise<void> {
  await chmod(files.folder, 0o711);
  for (const path of [files.console, files.log]) await rm(path, { force: true });
  await rm(files.run, { recursive: true, force: true });
  if (start !== 'frozen') {
    await rm(files.memory, { force: true });
    await createFile(files.memory, start === 'kernel' ? 0o444 : 0o600, (memory) => memory.truncate(memoryMb * MIB));
  }
  if (start === 'template') {
    await allocate(files.memory, memoryMb * MIB); // a hole that finds no room while the guest writes is SIGBUS
    await chown(files.memory, user, user);
  }
  // The VMM, as the file's group, may write the console's log, and neither read nor replace it.
  await createFile(files.console, 0o620, (log) => log.chown(0, user));
  await mkdir(files.run, { mode: 0o700 });
  await chown(files.run, user, user);
}

async function createFile(path: string, mode: number, prepare: (file: FileHandle) => Promise<void>): Promise<void> {
  const file = await open(path, 'wx', mode);
  try {
    await prepare(file);
    await file.chmod(mode); // whatever the umask took away
  } finally {
    await file.close();
  }
}
