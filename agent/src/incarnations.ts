import { type Admission, admitIncarnation, type KnownIncarnation, type VmStatus } from '@wrenn/actors';

/** The id of a `vm` actor. */
export function vmIdOf(sandboxId: string, incarnation: number): string {
  return `${sandboxId}.${incarnation}`;
}

/** Every incarnation that this host has seen, graves included (I1): what a create is checked against. */
export class Incarnations {
  readonly #bySandbox = new Map<string, Map<number, KnownIncarnation>>();

  /** Notes what is true of one now; its epoch never falls. */
  note(sandboxId: string, incarnation: number, status: VmStatus, epoch: number): void {
    const known = this.#bySandbox.get(sandboxId) ?? new Map<number, KnownIncarnation>();
    const highest = Math.max(epoch, known.get(incarnation)?.epoch ?? 0);
    known.set(incarnation, { incarnation, status, epoch: highest });
    this.#bySandbox.set(sandboxId, known);
  }

  /** Takes back what was noted of one that never came to be. */
  forget(sandboxId: string, incarnation: number): void {
    const known = this.#bySandbox.get(sandboxId);
    known?.delete(incarnation);
    if (known?.size === 0) this.#bySandbox.delete(sandboxId);
  }

  admit(sandboxId: string, wanted: { readonly incarnation: number; readonly epoch: number }): Admission {
    return admitIncarnation(this.#of(sandboxId), wanted);
  }

  /** True when an owner with a later epoch has commanded this sandbox here. */
  isStale(sandboxId: string, epoch: number): boolean {
    return this.#of(sandboxId).some((known) => known.epoch > epoch);
  }

  /** The highest incarnation; undefined: the sandbox is not known here. */
  latest(sandboxId: string): number | undefined {
    const known = this.#of(sandboxId).map(({ incarnation }) => incarnation);
    return known.length === 0 ? undefined : Math.max(...known);
  }

  /** Those that still hold anything here, files at least. */
  held(sandboxId: string): number[] {
    const held = this.#of(sandboxId).filter(({ status }) => status !== 'gone');
    return held.map(({ incarnation }) => incarnation).sort((a, b) => a - b);
  }

  sandboxes(): string[] {
    return [...this.#bySandbox.keys()];
  }

  #of(sandboxId: string): KnownIncarnation[] {
    return [...(this.#bySandbox.get(sandboxId)?.values() ?? [])];
  }
}
