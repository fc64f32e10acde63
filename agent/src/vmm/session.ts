import { setTimeout as sleep } from 'node:timers/promises';
import { AgentError } from '../errors.ts';
import { layerName, type SandboxFiles } from '../files.ts';
import { QmpClient } from './qmp.ts';
import { seenByVmm } from './view.ts';
import type { VmmStatus } from './vmm.ts';

const SOCKET_PATIENCE_MS = 5_000;
const SOCKET_POLL_MS = 2;
/** Loading takes a millisecond or two. */
const LOAD_POLL_MS = 1;

/**
 * A talk with a VMM over its control socket, which serves one at a time: open it, do one thing, close it.
 */
export class VmmSession {
  readonly #control: QmpClient;
  readonly #signal: AbortSignal;

  private constructor(control: QmpClient, signal: AbortSignal) {
    this.#control = control;
    this.#signal = signal;
  }

  /** A VMM that has just been started opens its socket within some 30 ms: it is waited for. */
  static async open(files: SandboxFiles, signal: AbortSignal): Promise<VmmSession> {
    const patience = AbortSignal.any([signal, AbortSignal.timeout(SOCKET_PATIENCE_MS)]);
    while (true) {
      try {
        return new VmmSession(await QmpClient.connect(files.qmp, signal), signal);
      } catch (error) {
        const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException;
        if (patience.aborted || (code !== 'ENOENT' && code !== 'ECONNREFUSED')) throw error;
      }
      await sleep(SOCKET_POLL_MS, undefined, { signal });
    }
  }

  /** Opens one, and closes it whatever happens. */
  static async with<Result>(
    files: SandboxFiles,
    signal: AbortSignal,
    work: (session: VmmSession) => Promise<Result>,
  ): Promise<Result> {
    const session = await VmmSession.open(files, signal);
    try {
      return await work(session);
    } finally {
      session.close();
    }
  }

  async status(): Promise<VmmStatus> {
    const state = await this.runState();
    if (state === 'running') return 'running';
    return state === 'inmigrate' ? 'waiting' : 'stopped';
  }

  /** In QEMU's own word (`RunState`). */
  async runState(): Promise<string> {
    return (await this.#control.execute('query-status', undefined, this.#signal)).status;
  }

  async stop(): Promise<void> {
    await this.#control.execute('stop', undefined, this.#signal);
  }

  async continue(): Promise<void> {
    await this.#control.execute('cont', undefined, this.#signal);
  }

  /** Writes the state of all devices to `run/devices`. The VM is stopped. */
  async saveDevices(): Promise<void> {
    const filename = seenByVmm.files.devicesInRun;
    await this.#control.execute('xen-save-devices-state', { filename, live: false }, this.#signal);
  }

  /** Loads `devices` into a VMM that waits. Its memory must be there already: virtio looks at its rings while loading. */
  async loadDevices(): Promise<void> {
    // Nobody must learn where it is now: announcing that five times would only keep the guest busy.
    await this.#control.execute('migrate-set-parameters', { 'announce-rounds': 0 }, this.#signal);
    await this.#control.execute('migrate-incoming', { uri: `file:${seenByVmm.files.devices}` }, this.#signal);
    while (true) {
      const { status, 'error-desc': reason } = await this.#control.execute('query-migrate', undefined, this.#signal);
      if (status === 'completed') return;
      if (status === 'failed') throw new AgentError('snapshot_damaged', `the devices were not loaded: ${reason ?? ''}`);
      await sleep(LOAD_POLL_MS, undefined, { signal: this.#signal });
    }
  }

  /** Opens a new layer, which exists; the disk does not use it yet. */
  async openLayer(index: number): Promise<void> {
    const node = layerName(index);
    const file = { driver: 'file', filename: seenByVmm.files.at(node) };
    const layer = { driver: 'qcow2', 'node-name': node, file, backing: null, ...DISK_OPTIONS };
    await this.#control.execute('blockdev-add', layer, this.#signal);
  }

  /** The disk goes on in a layer that is open; the one before is read-only from now on. */
  async switchToLayer(index: number): Promise<void> {
    const change = { node: layerName(index - 1), overlay: layerName(index) };
    await this.#control.execute('blockdev-snapshot', change, this.#signal);
  }

  /** Closes a layer that the disk does not use; fine when it is not open. */
  async closeLayer(index: number): Promise<void> {
    const node = layerName(index);
    const open = await this.#control.execute('query-named-block-nodes', { flat: true }, this.#signal);
    if (!open.some(({ 'node-name': name }) => name === node)) return;
    await this.#control.execute('blockdev-del', { 'node-name': node }, this.#signal);
  }

  /** The name of the layer that the guest writes to now. */
  async topLayer(): Promise<string> {
    const [disk] = await this.#control.execute('query-block', undefined, this.#signal);
    const name = disk?.inserted?.['node-name'];
    if (name === undefined) throw new AgentError('vmm_failed', 'the VMM names no disk');
    return name;
  }

  close(): void {
    this.#control.close();
  }
}

/** What a guest discards or zeroes takes no room on the host. */
export const DISK_OPTIONS = { discard: 'unmap', 'detect-zeroes': 'unmap' } as const;
