import { randomBytes } from 'node:crypto';
import type { VmContext, VmPurpose, VmSpec } from '@wrenn/actors';
import type { ActorView, Logger, Runtime } from '@wrenn/core';
import { vmIdOf } from './incarnations.ts';
import type { Images } from './rootfs/images.ts';
import type { Templates } from './snapshots/templates.ts';
import type { VmJournal } from './vm-journal.ts';
import type { VmmProcess } from './vmm/vmm.ts';

/** VM10: what a create that names nothing but a template gets. */
const DEFAULT_SIZE = { vcpus: 1, memory_mb: 512, disk_size_mb: 20_480 } as const;
/** Guest memory may all become the VM's own, and QEMU needs some (design.md §5). */
const VMM_RESERVE_MB = 64;
const BUDGET_MS = 60_000;
/** After a failure: what made it fail may last. */
const RETRY_MS = 30_000;
/** Looked at again whether creates are under way. */
const BUSY_PAUSE_MS = 250;
/** Waiting for them has an end: a host that is always busy needs its pool most. */
const BUSY_PATIENCE_MS = 10_000;

export interface WarmPoolOptions {
  /** Warm VMs by template. */
  readonly warm: ReadonlyMap<string, number>;
  /** VMMs with slot and disk kept for each of these templates, for what the warm ones do not cover. */
  readonly waiting: number;
  readonly images: Images;
  readonly templates: Templates;
  readonly journal: () => VmJournal;
  readonly log: Logger;
  /** Tells the VM's actor when its VMM ends. */
  readonly watch: (vmId: string, vmm: VmmProcess) => void;
  /** Whether starts of sandboxes are under way: they come first. */
  readonly busy: () => boolean;
}

type Kind = Extract<VmPurpose, 'warm' | 'waiting'>;

interface Parked {
  readonly vmId: string;
  readonly kind: Kind;
  readonly template: string;
  /** The boot snapshot that it was made from: another one now makes it worthless. */
  readonly snapshotId: string;
}

/**
 * VMs made ahead of demand (design.md §5): clones of popular templates that a create takes over in the state in which only
 * its identity is missing. Each is a `vm` actor; which are parked and given to nobody is known here alone, so one is never
 * given out twice, and what a restart finds unclaimed is ended. Refilled one at a time, when no create is under way.
 */
export class WarmPool {
  readonly #options: WarmPoolOptions;
  readonly #parked: Parked[] = [];
  readonly #stopping = new AbortController();
  #wake = Promise.withResolvers<void>();
  #running: Promise<void> = Promise.resolve();

  constructor(options: WarmPoolOptions) {
    this.#options = options;
  }

  /** Memory that the pool takes when it is full, in MiB: not offered to sandboxes. */
  static reservedMb({ warm, waiting }: Pick<WarmPoolOptions, 'warm' | 'waiting'>): number {
    let reserved = 0;
    for (const count of warm.values()) {
      reserved += count * (DEFAULT_SIZE.memory_mb + VMM_RESERVE_MB) + (count > 0 ? waiting * VMM_RESERVE_MB : 0);
    }
    return reserved;
  }

  /** Ends what an earlier agent had made ahead, then fills up in the background. */
  async start(unclaimed: readonly ActorView<VmContext>[]): Promise<void> {
    await Promise.all(unclaimed.map(({ id }) => this.#end(id)));
    this.#running = this.#fill();
  }

  /** A parked VM for this start, warm ones first; null where there is none that fits. Nobody else gets it. */
  async take(spec: VmSpec): Promise<string | null> {
    const fits = ({ template }: Parked) => template === spec.template;
    if (!isDefaultSize(spec) || !this.#parked.some(fits)) return null;
    const current = await this.#options.templates.idOf(spec);
    for (const kind of ['warm', 'waiting'] as const) {
      const at = this.#parked.findIndex((one) => one.kind === kind && fits(one) && one.snapshotId === current);
      const [taken] = at < 0 ? [] : this.#parked.splice(at, 1);
      if (taken === undefined) continue;
      this.#wake.resolve();
      return taken.vmId;
    }
    this.#wake.resolve(); // what is parked is out of date
    return null;
  }

  /** One that has ended, or was ended. */
  forget(vmId: string): void {
    const at = this.#parked.findIndex((one) => one.vmId === vmId);
    if (at < 0) return;
    this.#parked.splice(at, 1);
    this.#wake.resolve();
  }

  /** How many are parked, by kind. */
  count(kind: Kind): number {
    return this.#parked.filter((one) => one.kind === kind).length;
  }

  /** Ends what nobody has taken. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#wake.resolve();
    await this.#running;
    await Promise.all(this.#parked.splice(0).map(({ vmId }) => this.#end(vmId)));
  }

  async #fill(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      this.#wake = Promise.withResolvers();
      try {
        const next = await this.#missing();
        if (next !== null) {
          await this.#whileBusy();
          if (!signal.aborted) await this.#make(next);
          continue;
        }
        await this.#wake.promise;
      } catch (error) {
        if (signal.aborted) return;
        this.#options.log.warn({ err: error }, 'no VM could be made ahead of demand');
        await this.#pause(RETRY_MS);
      }
    }
  }

  /** What the pool lacks most: warm ones first. Ends those that are out of date. */
  async #missing(): Promise<{ template: string; kind: Kind } | null> {
    const { warm, waiting, images, templates } = this.#options;
    const wanted = [...warm].filter(([, count]) => count > 0);
    const known = new Set(wanted.length === 0 ? [] : await images.names());
    for (const one of [...this.#parked]) {
      if (one.snapshotId === (await templates.idOf(sizeOf(one.template)).catch(() => null))) continue;
      this.forget(one.vmId);
      await this.#end(one.vmId);
    }
    for (const kind of ['warm', 'waiting'] as const) {
      for (const [template, count] of wanted) {
        const there = this.#parked.filter((one) => one.kind === kind && one.template === template).length;
        if (known.has(template) && there < (kind === 'warm' ? count : waiting)) return { template, kind };
      }
    }
    return null;
  }

  async #make({ template, kind }: { template: string; kind: Kind }): Promise<void> {
    const sandboxId = `warm.${randomBytes(6).toString('hex')}`;
    const vmId = vmIdOf(sandboxId, 1);
    const nobody = { envs: {}, access_token: '', default_user: '', hostname: 'wrenn', team_id: '' };
    const event = {
      ...{ type: 'CREATE', sandbox_id: sandboxId, incarnation: 1, key: vmId, epoch: 0, budget_ms: BUDGET_MS },
      ...{ spec: { ...sizeOf(template), ...nobody }, purpose: kind, source: { kind: 'template' }, claim: null },
    };
    const answer = await this.#runtime.ask({ kind: 'vm', id: vmId }, event, {
      cause: { type: 'system', name: 'warm pool' },
      signal: this.#stopping.signal,
    });
    if (!answer.ok) throw new Error(`${vmId}: ${answer.error.message}`);
    const { origin, vmm } = (await this.#options.journal().read(vmId))?.context ?? {};
    if (origin?.kind !== 'snapshot' || !vmm) return;
    this.#options.watch(vmId, { pid: vmm.pid, startTime: vmm.start_time }); // one that only waits was not yet looked at
    this.#parked.push({ vmId, kind, template, snapshotId: origin.snapshot_id });
  }

  /** The create that took the last one may not have been noted yet. */
  async #whileBusy(): Promise<void> {
    const until = Date.now() + BUSY_PATIENCE_MS;
    do await this.#pause(BUSY_PAUSE_MS);
    while (this.#options.busy() && Date.now() < until && !this.#stopping.signal.aborted);
  }

  #pause(milliseconds: number): Promise<void> {
    const { signal } = this.#stopping;
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', end);
        resolve();
      };
      const timer = setTimeout(end, milliseconds);
      signal.addEventListener('abort', end, { once: true });
    });
  }

  async #end(vmId: string): Promise<void> {
    const view = await this.#options.journal().read(vmId);
    if (view === null || view.done) return;
    const { sandbox_id, incarnation } = view.context;
    const event = { type: 'DESTROY', sandbox_id, incarnation, key: `unclaimed:${vmId}`, epoch: 0 };
    await this.#runtime.ask({ kind: 'vm', id: vmId }, event, { cause: { type: 'system', name: 'warm pool' } });
  }

  get #runtime(): Runtime {
    return this.#options.journal().runtime;
  }
}

function sizeOf(template: string): { template: string } & typeof DEFAULT_SIZE {
  return { template, ...DEFAULT_SIZE };
}

function isDefaultSize({ vcpus, memory_mb, disk_size_mb }: VmSpec): boolean {
  const { vcpus: v, memory_mb: m, disk_size_mb: d } = DEFAULT_SIZE;
  return vcpus === v && memory_mb === m && disk_size_mb === d;
}
