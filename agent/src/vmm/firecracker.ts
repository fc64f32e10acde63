import { chmod, chown, mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { cgroupCreate, processSpawn } from '@wrenn/addon';
import type { AgentFiles, SandboxFiles } from '../files.ts';
import { layerName } from '../files.ts';
import { cgroupOf, namespaceOf, userOf } from '../slots/names.ts';
import type { DeviceMount } from './devices.ts';
import { FirecrackerApi } from './firecracker-api.ts';
import { markedProcesses, markOf } from './processes.ts';
import { GUEST_MAC, kernelArguments, type QemuPlatform, TAP } from './qemu-arguments.ts';
import { refusalOf } from './snapshot-needs.ts';
import { seenByVmm } from './view.ts';
import type { AdoptedStatus, MachineSpec, SnapshotNeeds, Vmm, VmmExit, VmmIdentity, VmmProcess } from './vmm.ts';
import { endProcess, isLive, watchProcess } from './vmm-process.ts';

const API_TIMEOUT_MS = 5_000;
/** What Firecracker needs besides the guest's memory before its control group must stop it. */
const VMM_OVERHEAD_MB = 128;
const VMM_OVERHEAD_CPUS = 0.5;
/** One thread per vCPU, one for the API, one for devices. */
const VMM_TASKS = 64;
/** Before the agent and the machine's own services, which have 0 or less. */
const OOM_SCORE_ADJ = 500;
const MIB = 1 << 20;

export interface FirecrackerOptions {
  readonly identity: VmmIdentity;
  /** The CPU that guests see, and what it depends on. */
  readonly cpu: string;
  readonly platform: Omit<QemuPlatform, 'acceleration'>;
  readonly files: AgentFiles;
  readonly devices: readonly DeviceMount[];
}

/**
 * VM1: Firecracker by its raw API. Instead of its jailer the agent itself gives the VMM a user, namespaces and a control
 * group of its own (VM2); its seccomp filters are Firecracker's own and stay on. The disk's top layer must be a raw file or
 * a block device. Dirty pages are tracked, for diff snapshots.
 */
export class Firecracker implements Vmm {
  readonly identity: VmmIdentity;
  /** Its snapshots are made by `FirecrackerSession`; the agent's pause and resume know QEMU's control socket only. */
  readonly canFreeze = false;
  readonly #options: FirecrackerOptions;

  constructor(options: FirecrackerOptions) {
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

  /** A frozen one waits for `FirecrackerSession.load`. */
  async boot(machine: MachineSpec, signal: AbortSignal): Promise<VmmProcess> {
    const { files, devices } = this.#options;
    const user = userOf(machine.slot);
    await prepareFolder(machine.files, user);
    const cgroup = await cgroupCreate({
      name: cgroupOf(machine.slot),
      memoryBytes: (machine.memoryMb + VMM_OVERHEAD_MB) * MIB,
      cpus: machine.vcpus + VMM_OVERHEAD_CPUS,
      pids: VMM_TASKS,
    });
    signal.throwIfAborted();
    const { vmm, kernels } = seenByVmm;
    const process = await processSpawn({
      argv: [join(vmm, 'firecracker'), '--api-sock', apiSocket(seenByVmm.files), '--level', 'Error'],
      env: markOf(files.root, machine.vmId),
      cwd: '/',
      netns: namespaceOf(machine.slot),
      mounts: [
        { source: machine.files.folder, target: seenByVmm.files.folder },
        { source: files.kernels, target: kernels, readonly: true },
        { source: join(files.vmms, machine.vmmDigest ?? this.identity.digest), target: vmm, readonly: true },
        ...devices,
      ],
      cgroups: cgroup.paths,
      uid: user,
      gid: user,
      oomScoreAdj: OOM_SCORE_ADJ,
      stdout: machine.files.console, // the guest's serial line
      stderr: machine.files.log,
    });
    if (machine.start === 'frozen') return process;
    try {
      await this.#configure(machine, signal);
    } catch (error) {
      await endProcess(process);
      throw error;
    }
    return process;
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
      const patience = AbortSignal.any([signal, AbortSignal.timeout(API_TIMEOUT_MS)]);
      const { state } = await new FirecrackerApi(apiSocket(files)).info(patience);
      return state === 'Running' ? 'running' : 'paused';
    } catch {
      signal.throwIfAborted();
      return (await isLive(process)) ? 'unknown' : 'gone';
    }
  }

  running(): Promise<ReadonlyMap<string, VmmProcess>> {
    return markedProcesses(this.#options.files.root);
  }

  async #configure(machine: MachineSpec, signal: AbortSignal): Promise<void> {
    const { platform } = this.#options;
    const { files, kernels } = seenByVmm;
    const api = new FirecrackerApi(apiSocket(machine.files));
    await api.info(signal);
    const size = { vcpu_count: machine.vcpus, mem_size_mib: machine.memoryMb, track_dirty_pages: true };
    await api.call('PUT /machine-config', size, signal);
    const boot = {
      kernel_image_path: join(kernels, platform.kernel.image),
      initrd_path: join(kernels, platform.kernel.initrd),
      boot_args: kernelArguments(machine.hostname, { ...platform, acceleration: 'kvm' }),
    };
    await api.call('PUT /boot-source', boot, signal);
    const path_on_host = files.at(layerName(machine.topLayer));
    // Not its root device: the initrd mounts the disk.
    const disk = { drive_id: 'root', path_on_host, is_root_device: false, is_read_only: false } as const;
    await api.call('PUT /drives/root', disk, signal);
    const network = { iface_id: 'eth0', host_dev_name: TAP, guest_mac: GUEST_MAC } as const;
    await api.call('PUT /network-interfaces/eth0', network, signal);
    await api.call('PUT /entropy', {}, signal);
    await api.call('PUT /actions', { action_type: 'InstanceStart' }, signal);
  }
}

/** What is done to a VM that runs or waits, by its API. */
export class FirecrackerSession {
  readonly #api: FirecrackerApi;

  constructor(files: SandboxFiles) {
    this.#api = new FirecrackerApi(apiSocket(files));
  }

  async status(signal: AbortSignal): Promise<'running' | 'stopped' | 'waiting'> {
    const { state } = await this.#api.info(signal);
    return state === 'Running' ? 'running' : state === 'Paused' ? 'stopped' : 'waiting';
  }

  stop(signal: AbortSignal): Promise<void> {
    return this.#api.call('PATCH /vm', { state: 'Paused' }, signal);
  }

  continue(signal: AbortSignal): Promise<void> {
    return this.#api.call('PATCH /vm', { state: 'Resumed' }, signal);
  }

  /** Writes devices to `run/devices` and the pages that changed since the last save to `run/memory`, a sparse file. The VM is stopped. */
  save(signal: AbortSignal): Promise<void> {
    const { files } = seenByVmm;
    const paths = { snapshot_path: files.devicesInRun, mem_file_path: savedMemory(files) };
    return this.#api.call('PUT /snapshot/create', { snapshot_type: 'Diff', ...paths }, signal);
  }

  /** Loads `devices` into a VMM that waits; its memory is served at `run/uffd.sock` (`uffdListen` of the addon). It stays stopped. */
  load(signal: AbortSignal): Promise<void> {
    const { files } = seenByVmm;
    const mem_backend = { backend_type: 'Uffd', backend_path: memorySocket(files) } as const;
    const how = { mem_backend, enable_diff_snapshots: true, resume_vm: false };
    return this.#api.call('PUT /snapshot/load', { snapshot_path: files.devices, ...how }, signal);
  }
}

function apiSocket(files: SandboxFiles): string {
  return join(files.run, 'api.sock');
}

/** Where a save leaves the pages that changed: `diffPublish` of the addon makes a generation of it. */
export function savedMemory(files: SandboxFiles): string {
  return join(files.run, 'memory');
}

export function memorySocket(files: SandboxFiles): string {
  return join(files.run, 'uffd.sock');
}

/** Everything that the VMM opens: root's, but for `run/`. An earlier attempt's leftovers are replaced. */
async function prepareFolder(files: SandboxFiles, user: number): Promise<void> {
  await chmod(files.folder, 0o711);
  for (const path of [files.console, files.log]) await rm(path, { force: true });
  await rm(files.run, { recursive: true, force: true });
  await (await open(files.console, 'wx', 0o600)).close();
  await mkdir(files.run, { mode: 0o700 });
  await chown(files.run, user, user);
}
