import { setTimeout as sleep } from 'node:timers/promises';
import { isSandboxVm } from '@wrenn/actors';
import type { Logger } from '@wrenn/core';
import type { LiveVm, LiveVms } from '../live-vms.ts';
import type { VmJournal } from '../vm-journal.ts';
import { Latest } from './latest.ts';
import type { Point, Usage } from './ring.ts';
import { type RangeSec, Series } from './series.ts';
import { SeriesFiles } from './series-files.ts';
import { SeriesKeeper } from './series-keeper.ts';
import { VmSampler } from './vm-sampler.ts';

const SAMPLE_MS = 500;
/** How much is lost when the agent is killed. */
const SAVE_MS = 30_000;

export interface VmMetricsOptions {
  readonly vms: LiveVms;
  readonly journal: VmJournal;
  /** `WRENN_DIR/metrics`. */
  readonly folder: string;
  readonly log: Logger;
}

/** What is remembered of a sandbox, with what the guest has at all. */
export interface PastUsage {
  readonly stepMs: number;
  readonly points: readonly Point[];
  readonly memTotalKib: number;
  readonly diskTotalKib: number;
}

export interface LiveUsage extends Usage {
  readonly memTotalKib: number;
  readonly diskTotalKib: number;
}

/**
 * MET2: what every live VM uses, twice a second, in rings that are kept by sandbox: on disk over pauses and restarts of
 * this program, in memory while it runs, gone with the sandbox. No activity of the sandbox (SN8): the guest is asked beside
 * the byte path, and one that is paused not at all.
 */
export class VmMetrics {
  readonly #options: VmMetricsOptions;
  readonly #files: SeriesFiles;
  readonly #keeper: SeriesKeeper;
  readonly #stop = new AbortController();
  /** By VM; null while what is on disk of its sandbox is being read, and where it is no sandbox's. */
  readonly #samplers = new Map<string, VmSampler | null>();
  readonly #viewers = new Map<string, Set<Latest<LiveUsage>>>();
  #running: Promise<unknown> = Promise.resolve();

  constructor(options: VmMetricsOptions) {
    this.#options = options;
    this.#files = new SeriesFiles(options.folder);
    this.#keeper = new SeriesKeeper(this.#files, options.journal, options.log);
  }

  async start(): Promise<void> {
    await this.#files.prepare();
    this.#running = Promise.all([
      this.#every(SAMPLE_MS, () => this.#sample()),
      this.#every(SAVE_MS, () => this.#save()),
      this.#keeper.forgetEnded(this.#stop.signal),
    ]);
  }

  /** Writes what is in memory. */
  async stop(): Promise<void> {
    this.#stop.abort();
    for (const viewers of this.#viewers.values()) for (const viewer of viewers) viewer.end();
    await this.#running;
    await this.#save();
  }

  /** Null: nothing is known of such a sandbox. */
  async past(sandboxId: string, range: RangeSec): Promise<PastUsage | null> {
    const series = this.#inMemory(sandboxId) ?? (await this.#keeper.load(sandboxId));
    if (!series) return null;
    const { memTotalKib, diskTotalKib } = series;
    return { ...series.points(range, Date.now()), memTotalKib, diskTotalKib };
  }

  /** Every sample from now on, until the VM or this program ends; whoever is slow misses some. */
  async *watch(sandboxId: string, signal: AbortSignal): AsyncGenerator<LiveUsage> {
    const viewer = new Latest<LiveUsage>(signal);
    const viewers = this.#viewers.get(sandboxId) ?? new Set();
    this.#viewers.set(sandboxId, viewers.add(viewer));
    try {
      yield* viewer;
    } finally {
      viewers.delete(viewer);
      if (viewers.size === 0) this.#viewers.delete(sandboxId);
    }
  }

  /** Of all VMs, as they were sampled last. */
  totals(): { readonly sampled: number; readonly rssKib: number; readonly cpuCores: number } {
    const last = [...this.#samplers.values()].flatMap((sampler) => sampler?.last ?? []);
    const sum = (pick: (of: (typeof last)[number]) => number) => last.reduce((total, of) => total + pick(of), 0);
    return { sampled: last.length, rssKib: sum(({ rssKib }) => rssKib), cpuCores: sum(({ cpuCores }) => cpuCores) };
  }

  #sample(): void {
    const at = Date.now();
    const now = performance.now();
    const live = new Set<string>();
    for (const vm of this.#options.vms.all()) {
      live.add(vm.vmId);
      const sampler = this.#samplers.get(vm.vmId);
      if (sampler === undefined) this.#begin(vm);
      const usage = sampler?.sample(now, this.#stop.signal);
      if (!sampler || !usage) continue;
      sampler.series.add(at, usage);
      const { memTotalKib, diskTotalKib } = sampler.series;
      for (const viewer of this.#viewers.get(vm.sandboxId) ?? []) viewer.put({ ...usage, memTotalKib, diskTotalKib });
    }
    for (const [vmId, sampler] of this.#samplers) if (!live.has(vmId)) this.#finish(vmId, sampler);
  }

  #begin(vm: LiveVm): void {
    this.#samplers.set(vm.vmId, null);
    this.#open(vm)
      .then((sampler) => {
        if (this.#samplers.has(vm.vmId)) this.#samplers.set(vm.vmId, sampler);
      })
      .catch((err) => {
        this.#options.log.warn({ err, vm: vm.vmId }, 'the use of a VM is not sampled');
      });
  }

  /** Null: it is not a sandbox's, but makes or waits for something. */
  async #open(vm: LiveVm): Promise<VmSampler | null> {
    const view = await this.#options.journal.read(vm.vmId);
    if (!view || !isSandboxVm(view)) return null;
    const kept = await this.#keeper.load(vm.sandboxId);
    const series = this.#inMemory(vm.sandboxId) ?? kept ?? new Series();
    return new VmSampler(vm, view.context.spec?.vcpus ?? 1, series);
  }

  /** The VM has ended: its sandbox may be paused, and asked about. */
  #finish(vmId: string, sampler: VmSampler | null): void {
    this.#samplers.delete(vmId);
    if (!sampler) return;
    sampler.end();
    const { sandboxId } = sampler.vm;
    if (!this.#options.vms.ready(sandboxId)) for (const viewer of this.#viewers.get(sandboxId) ?? []) viewer.end();
    void this.#keeper.settle(sandboxId, sampler.series);
  }

  #save(): Promise<void> {
    const sampled = [...this.#samplers.values()].filter((sampler) => sampler !== null);
    return this.#keeper.saveAll(new Map(sampled.map(({ vm, series }) => [vm.sandboxId, series])));
  }

  #inMemory(sandboxId: string): Series | undefined {
    for (const sampler of this.#samplers.values()) if (sampler?.vm.sandboxId === sandboxId) return sampler.series;
    return undefined;
  }

  async #every(ms: number, work: () => void | Promise<void>): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await work();
      } catch (err) {
        this.#options.log.warn({ err }, 'metrics are not whole');
      }
      await sleep(ms, undefined, { signal }).catch(() => undefined);
    }
  }
}
