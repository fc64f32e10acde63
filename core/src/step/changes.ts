import type { Json, Projection } from '../definition.ts';
import type { AnswerRow, AuditRow, EffectRow, EntryRow, OutboxRow, ProjectionRows, TimerRow } from './actor-state.ts';

/**
 * What one commit of one actor writes: the sum of up to 64 steps. Rows that come and go within it cancel out, so that
 * a statement never inserts and deletes one key.
 */
export class Changes {
  readonly entries: EntryRow[] = [];
  readonly answers: AnswerRow[] = [];
  readonly audits: AuditRow[] = [];
  readonly outbox: OutboxRow[] = [];
  readonly timersSet = new Map<string, TimerRow>();
  readonly timersCleared = new Set<string>();
  readonly effectsSet = new Map<number, EffectRow>();
  readonly effectsClosed = new Set<number>();
  readonly #projections = new Map<
    string,
    { upsert: Map<string, Record<string, Json>>; remove: Map<string, Record<string, Json>> }
  >();

  setTimer(timer: TimerRow): void {
    this.timersCleared.delete(timer.name);
    this.timersSet.set(timer.name, timer);
  }

  clearTimer(name: string): void {
    this.timersSet.delete(name);
    this.timersCleared.add(name);
  }

  setEffect(effect: EffectRow): void {
    this.effectsSet.set(effect.number, effect);
  }

  closeEffect(number: number): void {
    this.effectsSet.delete(number);
    this.effectsClosed.add(number);
  }

  project(
    { table, key }: Projection<never>,
    upsert: readonly Record<string, Json>[],
    remove: readonly Record<string, Json>[],
  ): void {
    let rows = this.#projections.get(table);
    if (!rows) {
      rows = { upsert: new Map(), remove: new Map() };
      this.#projections.set(table, rows);
    }
    const keyOf = (row: Record<string, Json>) => JSON.stringify(key.map((column) => row[column] ?? null));
    for (const row of remove) {
      rows.upsert.delete(keyOf(row));
      rows.remove.set(keyOf(row), row);
    }
    for (const row of upsert) {
      rows.remove.delete(keyOf(row));
      rows.upsert.set(keyOf(row), row);
    }
  }

  projections(): ProjectionRows[] {
    return [...this.#projections].map(([table, { upsert, remove }]) => ({
      table,
      upsert: [...upsert.values()],
      remove: [...remove.values()],
    }));
  }
}
