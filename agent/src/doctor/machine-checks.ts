import { access, constants, mkdir, statfs } from 'node:fs/promises';
import { cgroupProbe, networkPrepare, networkRemove, slotCreate, slotList, slotRemove } from '@wrenn/addon';
import type { AgentSettings } from '../config.ts';
import type { AgentFiles } from '../files.ts';
import { broken, type Check, degraded, type Finding, wordsOf, works } from './finding.ts';

const GIB = 2 ** 30;
/** Below it a filling disk of a sandbox may meet the end of the host's. */
const ROOM_WANTED_BYTES = 10 * GIB;

/** The machine: rights, control groups, network, disk. */
export function machineChecks(settings: AgentSettings, files: AgentFiles): Check[] {
  return [
    { name: 'rights', run: checkRights },
    { name: 'control groups', run: checkCgroups },
    { name: 'network', run: () => checkNetwork(settings) },
    { name: 'tap devices', run: () => checkDevice('/dev/net/tun', 'load the module: modprobe tun') },
    { name: 'device-mapper', run: checkDeviceMapper },
    { name: 'disk', run: () => checkDisk(files) },
  ];
}

async function checkRights(): Promise<Finding> {
  return process.getuid?.() === 0 ? works('root') : broken('not root', 'run the agent as root');
}

async function checkCgroups(): Promise<Finding> {
  const { version, controllers } = await cgroupProbe();
  const absent = Object.entries(controllers).flatMap(([name, state]) => (state === 'absent' ? [name] : []));
  if (absent.length === 0) return works(`memory, cpu and pids (version ${version})`);
  return degraded(
    `not enforced: ${absent.join(', ')} (version ${version})`,
    'boot with systemd.unified_cgroup_hierarchy=1, or mount these controllers',
  );
}

/** Makes a slot and removes it: namespaces, veth, tap and nftables in one. */
async function checkNetwork({ WRENN_SLOTS: { first, last } }: AgentSettings): Promise<Finding> {
  try {
    const used = new Set((await slotList({ first, last })).map(({ index }) => index));
    let index = last;
    while (used.has(index) && index > first) index--;
    if (used.has(index))
      return degraded(`every slot of ${first}-${last} is in use`, 'give the agent more by WRENN_SLOTS');
    const slots = { first: index, last: index };
    await networkPrepare({ slots });
    try {
      await slotCreate({ index });
      await slotRemove({ index });
    } finally {
      await networkRemove({ slots });
    }
    return works('namespace, veth, tap and nftables rules were made and removed');
  } catch (error) {
    return broken(wordsOf(error), 'load the modules: modprobe -a tun veth nf_tables nf_nat nf_conntrack');
  }
}

async function checkDevice(path: string, remedy: string): Promise<Finding> {
  try {
    await access(path, constants.R_OK | constants.W_OK);
    return works(path);
  } catch (error) {
    return broken(wordsOf(error), remedy);
  }
}

async function checkDeviceMapper(): Promise<Finding> {
  try {
    await access('/dev/mapper/control', constants.R_OK | constants.W_OK);
    return works('/dev/mapper/control');
  } catch {
    return degraded(
      'the kernel has none: root file systems are qcow2 overlays (FS3)',
      'modprobe dm_snapshot, if wanted',
    );
  }
}

async function checkDisk({ root }: AgentFiles): Promise<Finding> {
  try {
    await mkdir(root, { recursive: true });
    const { bsize, bavail, type } = await statfs(root);
    const free = `${((bsize * bavail) / GIB).toFixed(1)} GB free in ${root}`;
    const TMPFS = 0x01021994; // linux/magic.h
    if (type === TMPFS)
      return degraded(`${root} is a tmpfs`, 'let WRENN_DIR be on a disk: sandboxes must survive the agent');
    if (bsize * bavail < ROOM_WANTED_BYTES) return degraded(free, 'make room, or move WRENN_DIR');
    return works(free);
  } catch (error) {
    return broken(wordsOf(error), 'let WRENN_DIR name a folder on a local disk');
  }
}
