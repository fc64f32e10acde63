import type { LiveVm } from '../live-vms.ts';
import { processUsage } from './process-usage.ts';
import type { Usage } from './ring.ts';
import type { Series } from './series.ts';

/**
 * How often the guest is asked for what only it knows, and how long it is left alone first: an emulated one has better to
 * do then than to translate code that nobody waits for.
 */
const GUEST_EVERY_MS = 5_000;
const GUEST_TIMEOUT_MS = 2_000;

/** Samples one VM. What the guest says is asked for more rarely, and repeated in between. */
export class VmSampler {
  readonly vm: LiveVm;
  readonly series: Series;
  readonly #vcpus: number;
  #before: { readonly at: number; readonly cpuMs: number } | null = null;
  #last: { readonly rssKib: number; readonly cpuCores: number } | null = null;
  #guest = { memKib: Number.NaN, diskKib: Number.NaN };
  #askedAt: number | null = null;
  #asking = false;
  #ended = false;

  constructor(vm: LiveVm, vcpus: number, series: Series) {
    this.vm = vm;
    this.series = series;
    this.#vcpus = vcpus;
  }

  /** What the last sample found; null before there is one. */
  get last(): { readonly rssKib: number; readonly cpuCores: number } | null {
    return this.#last;
  }

  /** `now`: milliseconds that only grow. Null: nothing to compare with yet, or the VMM is gone. */
  sample(now: number, signal: AbortSignal): Usage | null {
    const usage = processUsage(this.vm.process);
    if (!usage) return null;
    const before = this.#before;
    this.#before = { at: now, cpuMs: usage.cpuMs };
    this.#askedAt ??= now;
    if (now - this.#askedAt >= GUEST_EVERY_MS && !this.#asking) {
      this.#askedAt = now;
      void this.#ask(signal);
    }
    if (!before || now <= before.at) return null;
    const cpuCores = Math.max(0, (usage.cpuMs - before.cpuMs) / (now - before.at));
    const { rssKib } = usage;
    this.#last = { rssKib, cpuCores };
    return { cpuPct: Math.min(100, (cpuCores / this.#vcpus) * 100), rssKib, ...this.#guest };
  }

  /** An answer that comes later is not of interest. */
  end(): void {
    this.#ended = true;
  }

  async #ask(signal: AbortSignal): Promise<void> {
    this.#asking = true;
    try {
      const told = await this.vm.guest.metrics(AbortSignal.any([signal, AbortSignal.timeout(GUEST_TIMEOUT_MS)]));
      if (this.#ended) return;
      this.#guest = { memKib: told.mem_used / 1024, diskKib: told.disk_used / 1024 };
      this.series.memTotalKib = told.mem_total / 1024;
      this.series.diskTotalKib = told.disk_total / 1024;
    } catch {
      // It is booting, frozen or busy: what it said last stands until it ends.
    } finally {
      this.#asking = false;
    }
  }
}
