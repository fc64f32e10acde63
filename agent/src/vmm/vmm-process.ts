import { chmod, chown, type FileHandle, mkdir, open, rm } from 'node:fs/promises';
import { constants } from 'node:os';
import { join } from 'node:path';
import { cgroupCreate, processAlive, processKill, processSpawn, processWatch } from '@wrenn/addon';
import type { AgentFiles, SandboxFiles } from '../files.ts';
import { cgroupOf, namespaceOf, userOf } from '../slots/names.ts';
import type { DeviceMount } from './devices.ts';
import { isVmm, markedProcesses, markOf } from './processes.ts';
import { seenByVmm, VMM_ROOT } from './view.ts';
import type { AdoptedStatus, MachineSpec, VmmExit, VmmIdentity, VmmProcess, VmmStatus } from './vmm.ts';
import { vmmCommand } from './vmm-folder.ts';

/** VM2: time between the polite request to end and the end. */
const TERMINATION_GRACE_MS = 10_000;
/** A VMM whose control socket is silent for so long is taken as hung, not as dead. */
const CONTROL_PATIENCE_MS = 5_000;
/** What a VMM needs besides the guest's memory before its control group must stop it (design.md §5). */
const OVERHEAD_MB = 128;
/** The VMM's own threads work beside the vCPUs: without room for them a busy vCPU would starve its devices. */
const OVERHEAD_CPUS = 0.5;
/** Before the agent and the machine's own services, which have 0 or less. */
const OOM_SCORE_ADJ = 500;
const MIB = 1 << 20;

export interface VmmProcessesOptions {
  readonly name: VmmIdentity['name'];
  readonly files: AgentFiles;
  readonly devices: readonly DeviceMount[];
  /** Digest of the VMM that is started where a machine names none. */
  readonly digest: string;
  /** A fork bomb of an escaped guest ends at so many tasks. */
  readonly tasks: number;
}

export interface VmmProgram {
  /** Paths in it are as the VMM sees them. */
  readonly args: readonly string[];
  /** Where its output goes; its errors go to the log. */
  readonly stdout: string;
}

/**
 * The processes of one kind of VMM. Each has a user, a control group, a network, a mount namespace and a root folder of its
 * own (VM2): it sees the VM's folder, the kernels, itself and its devices at stable paths, nothing else, and writes to `run/`
 * only.
 */
export class VmmProcesses {
  readonly #options: VmmProcessesOptions;

  constructor(options: VmmProcessesOptions) {
    this.#options = options;
  }

  async start(machine: MachineSpec, { args, stdout }: VmmProgram, signal: AbortSignal): Promise<VmmProcess> {
    const { name, files, devices, tasks } = this.#options;
    const vmm = join(files.vmms, machine.vmmDigest ?? this.#options.digest);
    const user = userOf(machine.slot);
    const cgroup = await cgroupCreate({
      name: cgroupOf(machine.slot),
      memoryBytes: (machine.memoryMb + OVERHEAD_MB) * MIB,
      cpus: machine.vcpus + OVERHEAD_CPUS,
      pids: tasks,
    });
    const command = await vmmCommand(name, vmm);
    signal.throwIfAborted();
    return processSpawn({
      argv: [...command, ...args],
      env: markOf(files.root, machine.vmId),
      netns: namespaceOf(machine.slot),
      mounts: [
        { source: machine.files.folder, target: seenByVmm.files.folder },
        { source: files.kernels, target: seenByVmm.kernels, readonly: true },
        { source: vmm, target: seenByVmm.vmm, readonly: true },
        ...devices,
      ],
      root: VMM_ROOT,
      cgroups: cgroup.paths,
      uid: user,
      gid: user,
      oomScoreAdj: OOM_SCORE_ADJ,
      stdout,
      stderr: machine.files.log,
    });
  }

  /** See `Vmm.running`. */
  running(): Promise<ReadonlyMap<string, VmmProcess>> {
    return markedProcesses(this.#options.files.root);
  }
}

/** Everything that the VMM opens: root's, but for what it must write. An earlier attempt's leftovers are replaced. */
export async function prepareFolder(files: SandboxFiles, user: number): Promise<void> {
  await chmod(files.folder, 0o711);
  for (const path of [files.console, files.log]) await rm(path, { force: true });
  await rm(files.run, { recursive: true, force: true });
  // The VMM, as the file's group, may write the console's log, and neither read nor replace it.
  await createFile(files.console, 0o620, (log) => log.chown(0, user));
  await mkdir(files.run, { mode: 0o700 });
  await chown(files.run, user, user);
}

/** The memory of a guest that boots: nothing but a hole. */
export async function prepareMemory(files: SandboxFiles, memoryMb: number, mode: number): Promise<void> {
  await rm(files.memory, { force: true });
  await createFile(files.memory, mode, (memory) => memory.truncate(memoryMb * MIB));
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

export async function isLive({ pid, startTime }: VmmProcess): Promise<boolean> {
  return (await processAlive(pid, startTime)) && (await isVmm(pid));
}

/** See `Vmm.watch`. */
export function watchProcess({ pid, startTime }: VmmProcess, ended: (exit: VmmExit) => void): void {
  processWatch(pid, startTime, (exit) => ended({ code: exit.code ?? null, signal: exit.signal ?? null }));
}

/** See `Vmm.adopt`; `ask` asks the VMM itself. */
export async function adoptedStatus(
  process: VmmProcess,
  ask: (signal: AbortSignal) => Promise<VmmStatus>,
  signal: AbortSignal,
): Promise<AdoptedStatus> {
  if (!(await isLive(process))) return 'gone';
  try {
    const status = await ask(AbortSignal.any([signal, AbortSignal.timeout(CONTROL_PATIENCE_MS)]));
    return status === 'running' ? 'running' : 'paused';
  } catch {
    signal.throwIfAborted();
    return (await isLive(process)) ? 'unknown' : 'gone';
  }
}

/** See `Vmm.destroy`. */
export async function endProcess(process: VmmProcess): Promise<void> {
  if (!(await isLive(process))) return;
  const { pid, startTime } = process;
  const ended = Promise.withResolvers<void>();
  watchProcess(process, () => ended.resolve());
  await processKill(pid, startTime, constants.signals.SIGTERM);
  const timer = setTimeout(() => {
    processKill(pid, startTime, constants.signals.SIGKILL).catch(ended.reject);
  }, TERMINATION_GRACE_MS);
  try {
    await ended.promise;
  } finally {
    clearTimeout(timer);
  }
}
