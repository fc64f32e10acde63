import { chown, mkdir, open, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cgroupCreate, processSpawn } from '@wrenn/addon';
import type { AgentFiles } from '../../agent/src/files.ts';
import { cgroupOf, namespaceOf, userOf } from '../../agent/src/slots/names.ts';
import { prepareDevices } from '../../agent/src/vmm/devices.ts';
import { markOf } from '../../agent/src/vmm/processes.ts';
import { Qemu } from '../../agent/src/vmm/qemu.ts';
import { seenByVmm } from '../../agent/src/vmm/view.ts';
import type { MachineSpec, SnapshotNeeds, VmmProcess } from '../../agent/src/vmm/vmm.ts';

const MIB = 1 << 20;

/**
 * The QEMU driver with a small program in QEMU's place: the same user, namespaces, control group, mark, watch, control
 * socket and memory mapping, so that all that a crash can leave behind is really there; only there is no machine in it.
 */
export class StandIn extends Qemu {
  readonly #files: AgentFiles;

  constructor(files: AgentFiles) {
    super({
      identity: { name: 'qemu', version: '0 (stand-in)', digest: '0'.repeat(64), acceleration: 'tcg' },
      files,
    } as ConstructorParameters<typeof Qemu>[0]);
    this.#files = files;
  }

  override get needs(): SnapshotNeeds {
    return { vmm: 'stand-in' };
  }

  override async refusal(): Promise<string | null> {
    return null;
  }

  override async boot(machine: MachineSpec, signal: AbortSignal): Promise<VmmProcess> {
    const { files, memoryMb, slot, start, topLayer, vmId } = machine;
    const user = userOf(slot);
    await prepareFolder(machine, user);
    const { paths } = await cgroupCreate({ name: cgroupOf(slot), pids: 16 });
    const devices = await prepareDevices(this.#files.devices, ['tun'], signal);
    const seen = seenByVmm.files.folder;
    await mkdir(seen, { recursive: true });
    return processSpawn({
      argv: ['/usr/bin/perl', join(import.meta.dirname, 'guest.pl'), seen, start, `${memoryMb}`, `${topLayer}`],
      env: markOf(this.#files.root, vmId),
      cwd: '/',
      netns: namespaceOf(slot),
      mounts: [{ source: files.folder, target: seen }, ...devices],
      cgroups: paths,
      uid: user,
      gid: user,
      stdout: files.log,
      stderr: files.log,
    });
  }
}

/** As the driver's own, with less care. */
async function prepareFolder({ files, memoryMb, start }: MachineSpec, user: number): Promise<void> {
  await rm(files.run, { recursive: true, force: true });
  await mkdir(files.run, { mode: 0o700 });
  await chown(files.run, user, user);
  await writeFile(files.console, '');
  if (start === 'frozen') return;
  await rm(files.memory, { force: true });
  const memory = await open(files.memory, 'wx', start === 'kernel' ? 0o444 : 0o600);
  await memory.truncate(memoryMb * MIB);
  await memory.close();
  if (start === 'template') await chown(files.memory, user, user);
}
