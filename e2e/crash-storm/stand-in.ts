import { chown, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { cgroupCreate, processSpawn } from '@wrenn/addon';
import type { AgentFiles } from '../../agent/src/files.ts';
import { cgroupOf, namespaceOf, userOf } from '../../agent/src/slots/names.ts';
import { type DeviceMount, prepareDevices } from '../../agent/src/vmm/devices.ts';
import { markOf } from '../../agent/src/vmm/processes.ts';
import { Qemu } from '../../agent/src/vmm/qemu.ts';
import { seenByVmm } from '../../agent/src/vmm/view.ts';
import type { MachineSpec, VmmProcess } from '../../agent/src/vmm/vmm.ts';
import { prepareFolder, prepareMemory } from '../../agent/src/vmm/vmm-process.ts';

const DIGEST = '0'.repeat(64);
const DEVICES_PATIENCE_MS = 10_000;

/**
 * The QEMU driver with a small program in QEMU's place: the same user, namespaces, control group, mark, watch, control
 * socket and memory mapping, so that all that a crash can leave behind is really there; only there is no machine in it.
 */
export class StandIn extends Qemu {
  readonly #files: AgentFiles;
  /** Made once, as an agent does it when it starts: a node that is made anew is away for a moment. */
  #devices: Promise<DeviceMount[]> | null = null;

  constructor(files: AgentFiles) {
    super({
      identity: { name: 'qemu', version: '0 (stand-in)', digest: DIGEST, acceleration: 'tcg' },
      cpu: 'none',
      platform: { tscKhz: 0, kernel: { digest: DIGEST } } as ConstructorParameters<typeof Qemu>[0]['platform'],
      files,
      devices: [],
      disks: 'qcow2',
    });
    this.#files = files;
  }

  /** Its program is in no folder of VMMs. */
  override async refusal(): Promise<string | null> {
    return null;
  }

  override async boot(machine: MachineSpec, signal: AbortSignal): Promise<VmmProcess> {
    const { files, memoryMb, slot, start, drive, vmId } = machine;
    const user = userOf(slot);
    await prepareFolder(files, user);
    if (start !== 'frozen') await prepareMemory(files, memoryMb, start === 'kernel' ? 0o444 : 0o600);
    if (start === 'template') await chown(files.memory, user, user);
    const { paths } = await cgroupCreate({ name: cgroupOf(slot), pids: 16 });
    this.#devices ??= prepareDevices(this.#files.devices, ['tun'], AbortSignal.timeout(DEVICES_PATIENCE_MS));
    const devices = await this.#devices;
    signal.throwIfAborted();
    const seen = seenByVmm.files.folder;
    await mkdir(seen, { recursive: true });
    return processSpawn({
      argv: ['/usr/bin/perl', join(import.meta.dirname, 'guest.pl'), seen, start, `${memoryMb}`, drive.name],
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
