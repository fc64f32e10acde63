import { access, constants, mkdir, statfs } from 'node:fs/promises';
import {
  cgroupProbe,
  networkPrepare,
  networkRemove,
  probeKernel,
  slotCreate,
  slotList,
  slotRemove,
} from '@wrenn/addon';
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
    {
      name: 'device-mapper',
      run: () => checkKernel('deviceMapper', 'root file systems are qcow2 overlays (FS3)', 'modprobe dm_snapshot'),
    },
    {
      name: 'user-fault handling',
      run: () =>
        checkKernel('userfaultfd', 'Firecracker snapshots cannot be served lazily', 'a kernel with CONFIG_USERFAULTFD'),
    },
    {
      name: 'dirty page scan',
      run: () =>
        checkKernel('pagemapScan', 'dirty pages are found through /proc/pid/pagemap (slower)', 'Linux 6.7 or later'),
    },
    {
      name: 'loop devices',
      run: () => checkKernel('loopDevices', 'device-mapper root file systems cannot be made', 'modprobe loop'),
    },
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

/** What sandboxes can do without, as the kernel does it or not. */
async function checkKernel(
  feature: 'deviceMapper' | 'userfaultfd' | 'pagemapScan' | 'loopDevices',
  otherwise: string,
  remedy: string,
): Promise<Finding> {
  const { works: doesWork, why } = (await kernelSupport())[feature];
  return doesWork ? works('it works') : degraded(`${why}; ${otherwise}`, remedy);
}

let probing: ReturnType<typeof probeKernel> | undefined;

/** One probe finds out all of it, and is of no use twice. */
function kernelSupport(): ReturnType<typeof probeKernel> {
  probing ??= probeKernel();
  return probing;
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
