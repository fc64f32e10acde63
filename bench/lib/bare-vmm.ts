import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import {
  type ProcessIdentity,
  processKill,
  processSpawn,
  processStat,
  processWatch,
  type SlotInfo,
  slotCreate,
  slotRemove,
  tscKhz,
} from '@wrenn/addon';
import { QmpClient } from '../../agent/src/vmm/qmp.ts';

/** A slot outside what agents use by default in the development stack. */
const SLOT = 9_990;
const ENVD_PORT = 49_983;
const MEMORY_MB = 512;

/** A boot by hand: the same image, kernel and VMM, nothing around it. Times in milliseconds. */
export interface BareStart {
  readonly healthyMs: number;
  readonly firstExecMs: number;
}

/** A VM of that image that was frozen by hand: memory, devices and disk. */
export interface BareTemplate {
  readonly folder: string;
}

export interface BareRestore {
  /** Milliseconds until the devices are loaded, and the vCPUs run. */
  readonly loadMs: number;
  /** Milliseconds from there to the answer. */
  readonly healthMs: number;
  /** What the VMM has for itself when its guest has run a first command as well. */
  readonly privateBytes: number;
}

const PATIENCE_MS = 60_000;

/** VMs of our image by hand, in one network slot, one at a time. */
export class BareVmm {
  readonly #root: string;
  readonly #slot: SlotInfo;
  readonly #append: string;

  private constructor(root: string, slot: SlotInfo, append: string) {
    this.#root = root;
    this.#slot = slot;
    this.#append = append;
  }

  /** `root` is an agent's folder with `kernels/` and `images/`. The network is made beforehand, as an agent's pool does. */
  static async prepare(root: string): Promise<BareVmm> {
    const kernel = JSON.parse(await readFile(join(root, 'kernels/kernel.json'), 'utf8')) as Record<string, string>;
    await slotRemove({ index: SLOT }); // of a run that was broken off
    const slot = await slotCreate({ index: SLOT });
    const append = [
      kernel.arguments,
      kernel.emulated_arguments ?? '',
      `tsc_early_khz=${await tscKhz()}`,
      'ip=169.254.0.21::169.254.0.22:255.255.255.252:bare:eth0:off',
    ].join(' ');
    return new BareVmm(root, slot, append);
  }

  /** A boot, to the first command's answer. */
  async start(): Promise<BareStart> {
    const folder = await mkdtemp(join(this.#root, 'bare-'));
    try {
      const started = performance.now();
      return await this.#with(await this.#boot(folder), async () => {
        await this.#healthy();
        const healthyMs = performance.now() - started;
        await this.#exec();
        return { healthyMs, firstExecMs: performance.now() - started };
      });
    } finally {
      await rm(folder, { recursive: true });
    }
  }

  /** Boots one and freezes it (design.md §5): its memory becomes the base of clones. */
  async template(): Promise<BareTemplate> {
    const folder = await mkdtemp(join(this.#root, 'bare-'));
    await this.#with(await this.#boot(folder), async () => {
      await this.#healthy();
      const control = await controlOf(folder);
      await control.execute('stop', undefined, patience());
      const filename = join(folder, 'devices');
      await control.execute('xen-save-devices-state', { filename, live: false }, patience());
      control.close();
    });
    return { folder };
  }

  /** A clone in a VMM that waits: its load, one health request to a guest that runs again, and a command. */
  async restore({ folder }: BareTemplate): Promise<BareRestore> {
    const clone = await mkdtemp(join(folder, 'clone-'));
    const disk = join(clone, 'disk.qcow2');
    await overlay(disk, join(folder, 'disk.qcow2'), 'qcow2');
    const memory = `${memoryFile(folder)},share=off,readonly=on,rom=off`;
    const vmm = await this.#spawn(clone, memory, disk, ['-S', '-incoming', 'defer']);
    return this.#with(vmm, async () => {
      const control = await controlOf(clone);
      await control.execute('migrate-set-parameters', { 'announce-rounds': 0 }, patience());
      const from = performance.now();
      await control.execute('migrate-incoming', { uri: `file:${join(folder, 'devices')}` }, patience());
      while ((await control.execute('query-migrate', undefined, patience())).status !== 'completed') await sleep(0.5);
      await control.execute('cont', undefined, patience());
      const running = performance.now();
      await this.#health();
      const healthMs = performance.now() - running;
      control.close();
      await this.#exec();
      const privateBytes = (await processStat(vmm.pid))?.privateBytes ?? Number.NaN;
      return { loadMs: running - from, healthMs, privateBytes };
    });
  }

  async remove({ folder }: BareTemplate): Promise<void> {
    await rm(folder, { recursive: true });
  }

  async release(): Promise<void> {
    await slotRemove({ index: SLOT });
  }

  async #boot(folder: string): Promise<ProcessIdentity> {
    const disk = join(folder, 'disk.qcow2');
    await overlay(disk, join(this.#root, 'images/minimal.ext4'), 'raw');
    const kernels = join(this.#root, 'kernels');
    const kernel = ['-kernel', join(kernels, 'vmlinuz'), '-initrd', join(kernels, 'initrd'), '-append', this.#append];
    return this.#spawn(folder, `${memoryFile(folder)},share=on`, disk, kernel);
  }

  #spawn(folder: string, memory: string, disk: string, how: readonly string[]): Promise<ProcessIdentity> {
    const machine = 'microvm,acpi=on,rtc=on,pit=off,pic=off,mem-merge=off,suppress-vmdesc=on,memory-backend=ram';
    const argv = [
      ...['qemu-system-x86_64', '-M', machine, '-accel', 'tcg,thread=multi', '-cpu', 'max'],
      ...['-m', `${MEMORY_MB}`, '-smp', '1', '-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none'],
      ...['-object', `memory-backend-file,id=ram,size=${MEMORY_MB}M,mem-path=${memory}`],
      ...['-global', 'migration.send-configuration=off', ...how],
      ...['-serial', 'null', '-blockdev', `driver=qcow2,node-name=disk,file.driver=file,file.filename=${disk}`],
      ...['-device', 'virtio-blk-device,drive=disk', '-netdev', 'tap,id=net,ifname=tap0,script=no,downscript=no'],
      ...['-device', `virtio-net-device,netdev=net,mac=${this.#slot.guestMac}`],
      ...['-object', 'rng-random,id=entropy,filename=/dev/urandom', '-device', 'virtio-rng-device,rng=entropy'],
      ...['-qmp', `unix:${controlFile(folder)},server=on,wait=off`],
    ];
    return processSpawn({ argv, netns: this.#slot.namespace, env: { PATH: '/usr/bin' } });
  }

  /** Ends it afterwards. */
  async #with<T>(vmm: ProcessIdentity, work: () => Promise<T>): Promise<T> {
    const ended = new Promise((resolve) => processWatch(vmm.pid, vmm.startTime, resolve));
    const awake = setInterval(() => {}, 60_000); // a watch alone does not keep the program alive
    try {
      return await work();
    } finally {
      await processKill(vmm.pid, vmm.startTime, 9);
      await ended;
      clearInterval(awake);
    }
  }

  async #healthy(): Promise<void> {
    while (!(await listens(this.#slot.hostIp))) await sleep(5);
    await this.#health();
  }

  async #health(): Promise<void> {
    const health = await fetch(`http://${this.#slot.hostIp}:${ENVD_PORT}/health`, { headers: { connection: 'close' } });
    if (!health.ok) throw new Error(`the bare guest is not healthy: ${health.status}`);
  }

  /** `process.Process/Start` in Connect's JSON streaming form: one request frame, frames until the end. */
  async #exec(): Promise<void> {
    const message = Buffer.from(JSON.stringify({ process: { cmd: '/bin/true', args: [] } }));
    const head = Buffer.alloc(5);
    head.writeUInt32BE(message.length, 1);
    const answer = await fetch(`http://${this.#slot.hostIp}:${ENVD_PORT}/process.Process/Start`, {
      method: 'POST',
      headers: { 'content-type': 'application/connect+json', 'connect-protocol-version': '1', connection: 'close' },
      body: Buffer.concat([head, message]),
    });
    const frames = await answer.text();
    if (!frames.includes('"end"')) throw new Error(`the bare guest ran nothing: ${frames}`);
  }
}

function listens(host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host, port: ENVD_PORT, timeout: 250 });
    const end = (open: boolean) => {
      socket.destroy();
      resolve(open);
    };
    socket
      .on('connect', () => end(true))
      .on('error', () => end(false))
      .on('timeout', () => end(false));
  });
}

const patience = () => AbortSignal.timeout(PATIENCE_MS);
const memoryFile = (folder: string) => join(folder, 'memory');
const controlFile = (folder: string) => join(folder, 'control');

async function overlay(disk: string, base: string, format: 'raw' | 'qcow2'): Promise<void> {
  await promisify(execFile)('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', format, '-b', base, disk]);
}

/** Waits for its socket. */
async function controlOf(folder: string): Promise<QmpClient> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await QmpClient.connect(controlFile(folder), patience());
    } catch (error) {
      if (tries === 1_000) throw error;
      await sleep(5);
    }
  }
}
