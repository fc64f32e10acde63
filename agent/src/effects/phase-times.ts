import { performance } from 'node:perf_hooks';

/** How long each phase of a start took, in milliseconds; forgotten when the start is over (VM6: measured and reported). */
export class PhaseTimes {
  readonly #byVm = new Map<string, Record<string, number>>();

  /** Measures one phase. One that fails is not noted: its next attempt is. */
  async measure<Result>(vmId: string, phase: string, work: () => Promise<Result>): Promise<Result> {
    const started = performance.now();
    const result = await work();
    const times = this.#byVm.get(vmId) ?? {};
    times[phase] = Math.round((performance.now() - started) * 10) / 10;
    this.#byVm.set(vmId, times);
    return result;
  }

  take(vmId: string): Record<string, number> {
    const times = this.#byVm.get(vmId) ?? {};
    this.#byVm.delete(vmId);
    return times;
  }
}
