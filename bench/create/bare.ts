import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { processKill, processSpawn, processWatch, type SlotInfo, slotCreate, slotRemove } from '@wrenn/addon';

/** A slot outside what agents use by default in the development stack. */
const SLOT = 9_990;
const ENVD_PORT = 49_983;

/** The bare side: the same image, kernel and VMM started by hand, nothing around it. Times in milliseconds. */
export interface BareStart {
  readonly healthyMs: number;
  readonly firstExecMs: number;
}

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
    const cpu = /cpu MHz\s*: ([\d.]+)/.exec(await readFile('/proc/cpuinfo', 'utf8'))?.[1];
    const append = [
      kernel.arguments,
      kernel.emulated_arguments ?? '',
      `tsc_early_khz=${Math.round(Number(cpu) * 1000)}`,
      'ip=169.254.0.21::169.254.0.22:255.255.255.252:bare:eth0:off',
    ].join(' ');
    return new BareVmm(root, slot, append);
  }

  async start(): Promise<BareStart> {
    const folder = await mkdtemp(join(this.#root, 'bare-'));
    const disk = join(folder, 'disk.qcow2');
    const started = performance.now();
    const base = join(this.#root, 'images/minimal.ext4');
    await promisify(execFile)('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', base, disk]);
    const vmm = await processSpawn({ argv: this.#argv(disk), netns: this.#slot.namespace, env: { PATH: '/usr/bin' } });
    const ended = new Promise((resolve) => processWatch(vmm.pid, vmm.startTime, resolve));
    const awake = setInterval(() => {}, 60_000); // a watch alone does not keep the program alive
    try {
      while (!(await listens(this.#slot.hostIp))) await sleep(5);
      const health = await fetch(`http://${this.#slot.hostIp}:${ENVD_PORT}/health`);
      if (!health.ok) throw new Error(`the bare guest is not healthy: ${health.status}`);
      const healthyMs = performance.now() - started;
      await this.#exec();
      return { healthyMs, firstExecMs: performance.now() - started };
    } finally {
      await processKill(vmm.pid, vmm.startTime, 9);
      await ended;
      clearInterval(awake);
      await rm(folder, { recursive: true });
    }
  }

  async release(): Promise<void> {
    await slotRemove({ index: SLOT });
  }

  #argv(disk: string): string[] {
    const kernels = join(this.#root, 'kernels');
    return [
      'qemu-system-x86_64',
      ...['-M', 'microvm,acpi=on,rtc=on,pit=off,pic=off,mem-merge=off', '-accel', 'tcg,thread=multi', '-cpu', 'max'],
      ...['-m', '512', '-smp', '1', '-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none'],
      ...['-kernel', join(kernels, 'vmlinuz'), '-initrd', join(kernels, 'initrd'), '-append', this.#append],
      ...['-serial', 'null', '-blockdev', `driver=qcow2,node-name=disk,file.driver=file,file.filename=${disk}`],
      ...['-device', 'virtio-blk-device,drive=disk', '-netdev', 'tap,id=net,ifname=tap0,script=no,downscript=no'],
      ...['-device', `virtio-net-device,netdev=net,mac=${this.#slot.guestMac}`],
      ...['-object', 'rng-random,id=entropy,filename=/dev/urandom', '-device', 'virtio-rng-device,rng=entropy'],
    ];
  }

  /** `process.Process/Start` in Connect's JSON streaming form: one request frame, frames until the end. */
  async #exec(): Promise<void> {
    const message = Buffer.from(JSON.stringify({ process: { cmd: '/bin/true', args: [] } }));
    const head = Buffer.alloc(5);
    head.writeUInt32BE(message.length, 1);
    const answer = await fetch(`http://${this.#slot.hostIp}:${ENVD_PORT}/process.Process/Start`, {
      method: 'POST',
      headers: { 'content-type': 'application/connect+json', 'connect-protocol-version': '1' },
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
