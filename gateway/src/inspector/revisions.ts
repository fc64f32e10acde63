import type { JournalEntry, Json } from '@wrenn/core';
import { applyDiff } from '../agents/json-patch.ts';
import { notFound } from '../http/problems.ts';
import type { Services } from '../services.ts';
import type { SeenActor } from './actor-access.ts';
import { journalPage } from './journal-pages.ts';

/** An actor as one entry of its journal left it. */
export interface Revision {
  readonly entry: JournalEntry;
  /** Null where the journal that is kept does not begin with the actor's first entry. */
  readonly context: Json;
}

const PAGE = 500;
/** Every so many entries the context is remembered: the next look into a long journal starts there. */
const CHECKPOINT = 500;
/** Contexts remembered over all actors; the oldest go first. */
const MAX_CHECKPOINTS = 500;

interface Checkpoint {
  readonly seq: number;
  readonly context: Json;
}

/** Past contexts, folded from the journal's diffs. What is past does not change, so it may be remembered. */
export class Revisions {
  readonly #checkpoints = new Map<string, Checkpoint>();

  /** The actor at `seq`; 404 where the journal has no such entry. */
  async at(services: Services, actor: SeenActor, seq: number): Promise<Revision> {
    let { seq: reached, context } = this.#nearest(actor, seq);
    for (;;) {
      const entries = await journalPage(services, actor, reached, Math.min(PAGE, seq - reached));
      for (const entry of entries) {
        context = entry.seq === reached + 1 ? contextAfter(context, entry) : null;
        reached = entry.seq;
        if (reached % CHECKPOINT === 0) this.#remember(actor, { seq: reached, context });
        if (reached === seq) return { entry, context };
      }
      if (entries.length === 0 || reached > seq) throw notFound('The journal has no such entry.');
    }
  }

  /** The last checkpoint before `seq`, so that the entry itself is always read. */
  #nearest({ view }: SeenActor, seq: number): Checkpoint {
    for (let at = Math.floor((seq - 1) / CHECKPOINT) * CHECKPOINT; at > 0; at -= CHECKPOINT) {
      const known = this.#checkpoints.get(keyOf(view, at));
      if (known) return known;
    }
    return { seq: 0, context: null };
  }

  #remember({ view }: SeenActor, checkpoint: Checkpoint): void {
    const [oldest] = this.#checkpoints.keys();
    if (this.#checkpoints.size >= MAX_CHECKPOINTS && oldest !== undefined) this.#checkpoints.delete(oldest);
    this.#checkpoints.set(keyOf(view, checkpoint.seq), checkpoint);
  }
}

function keyOf({ kind, id }: { readonly kind: string; readonly id: string }, seq: number): string {
  return `${kind}:${id}:${seq}`;
}

/** An entry whose diff does not fit (an upgrade of the machine changed the context beside the journal) tells nothing. */
function contextAfter(before: Json, { diff }: JournalEntry): Json {
  try {
    return applyDiff(before, diff);
  } catch {
    return null;
  }
}
