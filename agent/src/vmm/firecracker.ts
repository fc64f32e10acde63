import { join } from 'node:path';
import { basePublish } from '@wrenn/addon';
import { MEMORY, type SandboxFiles } from '../files.ts';
import type { DiskBranch, Drive } from '../rootfs/store.ts';
import { userOf } from '../slots/names.ts';
import { FirecrackerApi } from './firecracker-api.ts';
import { firecrackerFreezer, takeMemory } from './firecracker-freezer.ts';
import { serveMemory, watchMemory } from './memory-server.ts';
import { ProcessDriver } from './process-driver.ts';
import { GUEST_MAC, kernelArguments, type QemuPlatform, TAP } from './qemu-arguments.ts';
import type { VmmFacts } from './snapshot-needs.ts';
import { seenByVmm } from './view.ts';
import type {
  AdoptedStatus,
  FreezePurpose,
  Freezer,
  LiveVmm,
  MachineSpec,
  Measure,
  Vmm,
  VmmProcess,
  VmmStatus,
} from './vmm.ts';
import { adoptedStatus, endProcess, prepareFolder, prepareMemory } from './vmm-process.ts';

/** One thread per vCPU, one for the API, one for devices. */
const TASKS = 64;
const MIB = 1 << 20;

export interface FirecrackerOptions extends VmmFacts {
  readonly platform: Omit<QemuPlatform, 'acceleration'>;
}

/**
 * VM1: Firecracker by its raw API. Instead of its jailer the agent itself gives the VMM a user, namespaces and a control
 * group of its own (VM2); its seccomp filters are Firecracker's own and stay on. Its disk must be a raw file or a block
 * device. What it was restored from is given to it page by page (SN6); dirty pages are tracked, for diff snapshots.
 */
export class Firecracker extends ProcessDriver implements Vmm {
  readonly #platform: FirecrackerOptions['platform'];

  constructor(options: FirecrackerOptions) {
    super(options, TASKS);
    this.#platform = options.platform;
  }

  /** A frozen one waits for `resume`. */
  async boot(machine: MachineSpec, signal: AbortSignal): Promise<VmmProcess> {
    const { files, memoryMb, start } = machine;
    await prepareFolder(files, userOf(machine.slot));
    if (start !== 'frozen') await prepareMemory(files, memoryMb, 0o444);
    const args = ['--api-sock', apiSocket(seenByVmm.files), '--level', 'Error'];
    // Its output is the guest's serial line.
    const process = await this.processes.start(machine, { args, stdout: files.console }, signal);
    if (start === 'frozen') return process;
    try {
      await this.#configure(machine, signal);
    } catch (error) {
      await endProcess(process);
      throw error;
    }
    return process;
  }

  async resume(vmm: LiveVmm, chain: readonly string[], measure: Measure, signal: AbortSignal): Promise<VmmStatus> {
    const { files } = vmm;
    const api = apiOf(files);
    const status = await statusOf(api, signal);
    if (status === 'waiting') {
      await measure('memory', () => serveMemory(vmm, memorySocket(files), chain, signal));
      await measure('load', () => this.#load(api, signal));
    }
    await watchMemory(vmm);
    if (status !== 'running') await api.call('PATCH /vm', { state: 'Resumed' }, signal);
    return status;
  }

  stop(files: SandboxFiles, signal: AbortSignal): Promise<void> {
    return apiOf(files).call('PATCH /vm', { state: 'Paused' }, signal);
  }

  /** Its disk has one layer to write to, always the same. */
  async recover(files: SandboxFiles, layers: readonly string[], signal: AbortSignal): Promise<readonly string[]> {
    const api = apiOf(files);
    if ((await statusOf(api, signal)) === 'stopped') await api.call('PATCH /vm', { state: 'Resumed' }, signal);
    return layers;
  }

  freezer(vmm: LiveVmm, purpose: FreezePurpose, disk: DiskBranch | null, signal: AbortSignal): Promise<Freezer> {
    return firecrackerFreezer(vmm, apiOf(vmm.files), purpose, disk, signal);
  }

  /** What the freeze left is all that the guest has touched since its boot. */
  async publishBase(files: SandboxFiles, memoryMb: number): Promise<void> {
    const bytes = memoryMb * MIB;
    const file = await takeMemory(files, files.memory, bytes);
    await basePublish({ file, memoryBytes: bytes, dir: files.folder, name: MEMORY });
  }

  /** Firecracker tells its guest of the error instead. */
  async watchStalls(): Promise<void> {}

  async endStall(): Promise<void> {}

  /** A VM whose memory nobody serves any more would hang at the next page: it is ended (SN6). */
  async adopt(process: VmmProcess, files: SandboxFiles, signal: AbortSignal): Promise<AdoptedStatus> {
    await watchMemory({ process, files });
    return adoptedStatus(process, (patience) => statusOf(apiOf(files), patience), signal);
  }

  /** It stays stopped. */
  #load(api: FirecrackerApi, signal: AbortSignal): Promise<void> {
    const { files } = seenByVmm;
    const mem_backend = { backend_type: 'Uffd', backend_path: memorySocket(files) } as const;
    const how = { mem_backend, enable_diff_snapshots: true, resume_vm: false };
    return api.call('PUT /snapshot/load', { snapshot_path: files.devices, ...how }, signal);
  }

  async #configure(machine: MachineSpec, signal: AbortSignal): Promise<void> {
    const platform = this.#platform;
    const { kernels } = seenByVmm;
    const api = apiOf(machine.files);
    await api.info(signal);
    const size = { vcpu_count: machine.vcpus, mem_size_mib: machine.memoryMb, track_dirty_pages: true };
    await api.call('PUT /machine-config', size, signal);
    const boot = {
      kernel_image_path: join(kernels, platform.kernel.image),
      initrd_path: join(kernels, platform.kernel.initrd),
      boot_args: kernelArguments(machine.hostname, { ...platform, acceleration: 'kvm' }),
    };
    await api.call('PUT /boot-source', boot, signal);
    // Not its root device: the initrd mounts the disk.
    const path_on_host = pathOf(machine.drive);
    const disk = { drive_id: 'root', path_on_host, is_root_device: false, is_read_only: false } as const;
    await api.call('PUT /drives/root', disk, signal);
    const network = { iface_id: 'eth0', host_dev_name: TAP, guest_mac: GUEST_MAC } as const;
    await api.call('PUT /network-interfaces/eth0', network, signal);
    await api.call('PUT /entropy', {}, signal);
    await api.call('PUT /actions', { action_type: 'InstanceStart' }, signal);
  }
}

function pathOf({ name, format }: Drive): string {
  if (format !== 'raw') throw new Error(`Firecracker has no disks of the format ${format}`);
  return seenByVmm.files.at(name);
}

async function statusOf(api: FirecrackerApi, signal: AbortSignal): Promise<VmmStatus> {
  const { state } = await api.info(signal);
  return state === 'Running' ? 'running' : state === 'Paused' ? 'stopped' : 'waiting';
}

const apiOf = (files: SandboxFiles): FirecrackerApi => new FirecrackerApi(apiSocket(files));
const apiSocket = (files: SandboxFiles): string => join(files.run, 'api.sock');
const memorySocket = (files: SandboxFiles): string => join(files.run, 'uffd.sock');
