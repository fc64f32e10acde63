import type pg from 'pg';
import type { ActorDefinition, Projection } from '../definition.ts';
import type { ActorCommit, CommitOutcome } from '../engine/store.ts';
import { CommitRows } from './commit-rows.ts';
import { commitSql, projectionName, type Section } from './commit-sql.ts';
import { isConnectionLoss, isTransient } from './pg-errors.ts';

/** What runs a prepared statement: a client or a pool. */
export interface Prepared {
  query(config: { name: string; text: string; values: unknown[] }): Promise<pg.QueryResult>;
}

type Written = Extract<CommitOutcome, { type: 'committed' | 'lost' }>;

/** Tries of one actor alone after an error that may pass (deadlock, serialization, resources). */
const TRIES = 5;
const AGAIN_MS = 20;

/** Writes batches of actors, each in one statement. */
export class Committer {
  readonly #projections = new Map<string, Projection<never>>();
  readonly #statements = new Map<string, { name: string; text: string }>();

  constructor(definitions: Iterable<ActorDefinition>) {
    for (const { kind, projections } of definitions) {
      for (const projection of projections ?? [])
        this.#projections.set(projectionName(kind, projection.table), projection as never);
    }
  }

  /** One statement; throws what the database says. */
  async write(on: Prepared, batch: readonly ActorCommit[]): Promise<Written[]> {
    const rows = new CommitRows(batch);
    const sections = rows.sections();
    const result = await on.query({ ...this.#statement(sections), values: rows.values(sections) });
    const written: Written[] = batch.map(() => ({ type: 'lost', leased: false }));
    for (const { n, moved, leased } of result.rows as { n: string; moved: boolean; leased: boolean }[]) {
      written[Number(n) - 1] = moved ? { type: 'committed' } : { type: 'lost', leased };
    }
    return written;
  }

  /** The batch in one statement; after an SQL error each actor alone, so that one does not fail the others. */
  async commit(on: Prepared, batch: readonly ActorCommit[]): Promise<CommitOutcome[]> {
    try {
      return await this.write(on, batch);
    } catch (error) {
      if (isConnectionLoss(error)) return batch.map(() => ({ type: 'unknown' }));
      const outcomes: CommitOutcome[] = [];
      for (const commit of batch) outcomes.push(await this.#alone(on, commit));
      return outcomes;
    }
  }

  async #alone(on: Prepared, commit: ActorCommit): Promise<CommitOutcome> {
    for (let tries = 1; ; tries += 1) {
      try {
        const [outcome] = await this.write(on, [commit]);
        return outcome as Written;
      } catch (error) {
        if (isConnectionLoss(error)) return { type: 'unknown' };
        if (!isTransient(error)) return { type: 'failed', error };
        if (tries >= TRIES) return { type: 'lost', leased: true };
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS * tries));
      }
    }
  }

  #statement(sections: readonly Section[]): { name: string; text: string } {
    const key = sections.join(' ');
    let statement = this.#statements.get(key);
    if (!statement) {
      statement = { name: `commit_${this.#statements.size + 1}`, text: commitSql(sections, this.#projections) };
      this.#statements.set(key, statement);
    }
    return statement;
  }
}
