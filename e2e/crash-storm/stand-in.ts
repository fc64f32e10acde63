import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cgroupCreate, processAlive, processSpawn } from '@wrenn/addon';
import type { AgentFiles } from '../../agent/src/files.ts';
import { cgroupOf, namespaceOf, userOf } from '../../agent/src/slots/names.ts';
import { prepareDevices } from '../../agent/src/vmm/devices.ts';
import { markOf } from '../../agent/src/vmm/processes.ts';
import { Qemu } from '../../agent/src/vmm/qemu.ts';
import type { AdoptedStatus, MachineSpec, VmmProcess } from '../../agent/src/vmm/vmm.ts';

/**
 * The QEMU driver with a small program in QEMU's place: the same user, namespace, control group, mark and watch, so that
 * all that a crash can leave behind is really there; only there is no machine in it.
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

  override async boot({ files, slot, vmId }: MachineSpec, signal: AbortSignal): Promise<VmmProcess> {
    const user = userOf(slot);
    await rm(files.run, { recursive: true, force: true });
    await mkdir(files.run, { mode: 0o700 });
    await writeFile(files.console, '', { mode: 0o666 });
    const { paths } = await cgroupCreate({ name: cgroupOf(slot), pids: 16 });
    const mounts = await prepareDevices(this.#files.devices, ['tun'], signal);
    return processSpawn({
      argv: ['/usr/bin/perl', join(import.meta.dirname, 'guest.pl')],
      env: markOf(this.#files.root, vmId),
      cwd: '/',
      netns: namespaceOf(slot),
      mounts: [...mounts],
      cgroups: paths,
      uid: user,
      gid: user,
      stdout: files.log,
      stderr: files.log,
    });
  }

  override async adopt({ pid, startTime }: VmmProcess): Promise<AdoptedStatus> {
    return (await processAlive(pid, startTime)) ? 'running' : 'gone';
  }
}
