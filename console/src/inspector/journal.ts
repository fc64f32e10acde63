import type { JournalEntry } from '../lib/api.ts';
import { applyDiff, type Json, type Operation } from './patch.ts';

/** Revisions between kept contexts: going back never replays more than these. */
const KEEP_EVERY = 64;

/**
 * An actor's journal as a line of revisions, or the latest part of it. Contexts are rebuilt by diffs: from the actor's very
 * first entry, which holds all of it, or from the context that is known after the first one here.
 */
export class Journal {
  readonly entries: readonly JournalEntry[];
  /** By index. */
  readonly #kept: Map<number, Json>;

  /** @param first the context after `entries[0]`, where that is not the actor's beginning; null where nobody knows it. */
  constructor(entries: readonly JournalEntry[], first: Json = null, kept = new Map<number, Json>()) {
    this.entries = entries;
    this.#kept = kept;
    if (entries[0] && !kept.has(0)) kept.set(0, this.whole ? applyDiff(null, diffOf(entries[0])) : first);
  }

  /** Whether it begins where its actor did. */
  get whole(): boolean {
    return (this.entries[0]?.seq ?? 1) === 1;
  }

  /** With what came next. */
  followedBy(entries: readonly JournalEntry[]): Journal {
    return new Journal([...this.entries, ...entries], this.#kept.get(0), this.#kept);
  }

  /** The public context after entry `index`; null where the beginning is gone, so that nobody can tell. */
  contextAt(index: number): Json {
    let start = index - (index % KEEP_EVERY);
    while (start > 0 && !this.#kept.has(start)) start -= KEEP_EVERY;
    let context = this.#kept.get(start) ?? null;
    if (context === null) return null;
    for (let at = start + 1; at <= index; at++) {
      context = applyDiff(context, diffOf(this.entries[at]));
      if (at % KEEP_EVERY === 0) this.#kept.set(at, context);
    }
    return context;
  }

  /** Index of the entry with this `seq`, or of the last one before it; -1 where there is none. */
  indexOf(seq: number): number {
    return this.entries.findLastIndex((entry) => entry.seq <= seq);
  }
}

function diffOf(entry: JournalEntry | undefined): readonly Operation[] {
  return (entry?.diff ?? []) as readonly Operation[];
}

export interface EventOf {
  readonly type: string;
  readonly [field: string]: Json;
}

export function eventOf(entry: JournalEntry): EventOf {
  return entry.event as EventOf;
}

/** `IDLE` for `xstate.after.IDLE.sandbox.running.idle.armed`; null for what is no deadline. */
export function delayOf(type: string): string | null {
  return /^(?:xstate\.)?after\.([A-Za-z0-9_]+)/.exec(type)?.[1] ?? null;
}

/** An event as people call it: a deadline by the name of its delay. */
export function eventName(entry: JournalEntry): string {
  const { type } = eventOf(entry);
  return delayOf(type) ?? type;
}

interface CauseJson {
  readonly type: string;
  readonly id?: string;
  readonly name?: string;
  readonly key?: string;
  readonly kind?: string;
}

export interface Cause {
  /** `user`, `api_key`, `timer`, `effect`, `host`, `actor`, `system`. */
  readonly type: string;
  readonly label: string;
  readonly detail: string | null;
}

/** Who or what caused an entry, in words. */
export function causeOf(entry: JournalEntry): Cause {
  const { type, id, name, key, kind } = entry.cause as CauseJson;
  const who = name ?? id ?? '';
  const words: Record<string, string> = {
    user: `user ${who}`,
    api_key: `key ${who}`,
    timer: `timer ${name ?? delayOf(eventOf(entry).type) ?? ''}`,
    effect: `result of ${who}`,
    host: `host ${who}`,
    actor: `${kind ?? 'actor'} ${who}`,
    system: who || 'the system',
  };
  return { type, label: (words[type] ?? `${type} ${who}`).trim(), detail: key ?? (name ? (id ?? null) : null) };
}
