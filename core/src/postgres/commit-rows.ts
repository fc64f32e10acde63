import type { ActorCommit } from '../engine/store.ts';
import { storableJson, storableText } from '../step/storable.ts';
import { columnsOf, projectionName, type Section } from './commit-sql.ts';
import { partitionOf } from './partition.ts';

type Value = string | number | boolean | null;

/** Rows of a batch by section, turned into the arrays that the statement unnests. */
export class CommitRows {
  readonly #sections = new Map<Section | 'actors' | 'events', Value[][]>();
  #create = false;
  #update = false;

  constructor(batch: readonly ActorCommit[]) {
    this.#section('actors');
    this.#section('events');
    for (const [i, commit] of batch.entries()) this.#addActor(i + 1, commit);
  }

  /** In an order that depends on nothing but which there are, so that equal combinations share one prepared statement. */
  sections(): Section[] {
    const names = [...this.#sections.keys()]
      .filter((name) => name !== 'actors' && name !== 'events')
      .sort() as Section[];
    return [...(this.#create ? (['create'] as const) : []), ...(this.#update ? (['update'] as const) : []), ...names];
  }

  /** Parameters of the statement. */
  values(sections: readonly Section[]): unknown[] {
    const arrays = (['actors', 'events', ...sections] as const).flatMap((section) => this.#sections.get(section) ?? []);
    return arrays.map(arrayParameter);
  }

  #section(name: Section | 'actors' | 'events'): Value[][] {
    let arrays = this.#sections.get(name);
    if (!arrays) {
      arrays = columnsOf(name).map(() => []);
      this.#sections.set(name, arrays);
    }
    return arrays;
  }

  #add(name: Section | 'actors' | 'events', ...row: Value[]): void {
    const arrays = this.#section(name);
    for (const [i, value] of row.entries()) arrays[i]?.push(value);
  }

  #addActor(n: number, { ref, epoch, fromSeq, row, changes, accepted, consumed }: ActorCommit): void {
    if (fromSeq === 0) this.#create = true;
    else this.#update = true;
    this.#add(
      'actors',
      ref.kind,
      ref.id,
      partitionOf(ref),
      epoch,
      fromSeq,
      row.seq,
      row.machineVersion,
      storableJson(row.state),
      row.path,
      textArray(row.tags),
      storableJson(row.snapshot),
      storableJson(row.ledger),
      row.teamId,
      row.createdAt,
      row.since,
      row.updatedAt,
      row.done,
    );
    for (const entry of changes.entries) {
      this.#add(
        'events',
        n,
        entry.seq,
        entry.at,
        entry.outcome,
        storableJson(entry.event),
        entry.messageId,
        storableJson(entry.cause),
        entry.effectKey,
        storableJson(entry.from),
        storableJson(entry.to),
        entry.path,
        storableJson(entry.diff),
        entry.machineVersion,
        entry.teamId,
      );
    }
    for (const id of accepted) this.#add('inbox', n, id);
    for (const id of consumed) this.#add('consume', n, id);
    for (const { name, visit, delay, node, dueAt } of changes.timersSet.values()) {
      this.#add('timers_set', n, name, visit, delay, node, dueAt);
    }
    for (const name of changes.timersCleared) this.#add('timers_clear', n, name);
    for (const effect of changes.effectsSet.values()) {
      this.#add(
        'effects_set',
        n,
        effect.number,
        effect.name,
        effect.node,
        effect.visit,
        storableJson(effect.input),
        effect.openedAt,
        effect.attempts,
        effect.nextAttemptAt,
        effect.lastError && storableJson(effect.lastError),
        effect.status,
      );
    }
    for (const number of changes.effectsClosed) this.#add('effects_close', n, number);
    for (const [k, { id, to, event, cause }] of changes.outbox.entries()) {
      this.#add(
        'outbox',
        n,
        n * 10_000 + k,
        id,
        to.kind,
        storableText(to.id),
        partitionOf(to),
        storableJson(event),
        storableJson(cause),
      );
    }
    for (const { messageId, answer } of changes.answers) this.#add('answers', n, messageId, storableJson(answer));
    for (const { at, teamId, actor, action, status, metadata } of changes.audits) {
      this.#add('audit', n, at, teamId, actor.type, actor.id, actor.name, action, status, storableJson(metadata));
    }
    for (const { table, upsert, remove } of changes.projections()) {
      const name = projectionName(ref.kind, table);
      for (const projected of upsert) this.#add(`upsert:${name}`, n, storableJson(projected));
      for (const key of remove) this.#add(`remove:${name}`, n, storableJson(key));
    }
  }
}

/**
 * An array literal made by the engine's own JSON: within quotes PostgreSQL's syntax takes the same two escapes, and JSON
 * texts need no others. Where there are others (control characters in ids) the driver's slower way is taken.
 */
function arrayParameter(values: Value[]): unknown {
  const literal = JSON.stringify(values);
  return /\\[^"\\]/.test(literal) ? values : `{${literal.slice(1, -1)}}`;
}

/** An array literal: unnest would flatten an array of arrays. */
function textArray(texts: readonly string[]): string {
  return `{${texts.map((text) => `"${text.replace(/[\\"]/g, '\\$&')}"`).join(',')}}`;
}
