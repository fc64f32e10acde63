import type { ActorView, JournalEntry, Json } from '@wrenn/core';
import { applyDiff } from '../agents/json-patch.ts';
import type { Socket } from '../http/socket.ts';
import type { Services } from '../services.ts';
import { contextJson } from './actor-json.ts';
import { listActors } from './actor-list.ts';
import { feedCursorText, feedTip } from './feed-cursor.ts';
import { FeedSocket } from './feed-socket.ts';
import { type EntryFilter, followJournals } from './follow-journals.ts';
import { definitionOf, presentMachine } from './machines.ts';
import { actorMessage, eventMessage, machineText, type StatelyMessage, snapshotMessage } from './stately-messages.ts';
import { listMirrorsOf } from './vm-mirrors.ts';

/** Actors that one viewer is shown: it draws each by itself. Later ones are told of without their context. */
const MAX_ACTORS = 1_000;
const PAGE = 200;

interface Shown {
  readonly seq: number;
  readonly context: Json;
}

/** Tells an outside viewer of the actors that are there, and then of everything that happens to them. */
export async function runStately(
  services: Services,
  socket: Socket,
  filter: EntryFilter,
  one: ActorView | null,
): Promise<void> {
  const from = await feedTip(services.sql);
  const viewer = new StatelyViewer(services, new FeedSocket(socket, feedCursorText(from)));
  for await (const view of presentActors(services, filter, one)) await viewer.introduce(view);
  await followJournals(services, filter, from, socket.signal, (entry) => viewer.tell(entry));
}

class StatelyViewer {
  readonly #services: Services;
  readonly #socket: FeedSocket;
  readonly #shown = new Map<string, Shown>();
  readonly #machines = new Map<string, string>();

  constructor(services: Services, socket: FeedSocket) {
    this.#services = services;
    this.#socket = socket;
  }

  introduce(view: ActorView): Promise<void> {
    const { kind, id, seq, createdAt: at, state: value, done } = view;
    const context = contextJson(this.#services.runtime, view);
    this.#shown.set(`${kind}:${id}`, { seq, context });
    const snapshot = { status: done ? 'done' : 'active', value, context } as const;
    return this.#send(actorMessage({ kind, id, at, seq, snapshot }, this.#machine(kind)));
  }

  async tell(entry: JournalEntry): Promise<void> {
    const { kind, id, seq, at, to } = entry;
    const key = `${kind}:${id}`;
    const known = this.#shown.get(key);
    if (known && known.seq >= seq) return; // it was introduced as it was after this
    const context = contextAfter(known, entry);
    const done = isFinal(kind, entry.path);
    const snapshot = {
      status: done ? 'done' : 'active',
      value: to,
      ...(context !== undefined && { context }),
    } as const;
    if (!known && seq === 1) await this.#send(actorMessage({ kind, id, at, seq, snapshot }, this.#machine(kind)));
    await this.#send(eventMessage(entry));
    if (entry.outcome === 'transition') await this.#send(snapshotMessage(entry, snapshot));
    if (done) this.#shown.delete(key);
    else if (context !== undefined && (known || this.#shown.size < MAX_ACTORS)) this.#shown.set(key, { seq, context });
  }

  #machine(kind: string): string {
    const known = this.#machines.get(kind);
    if (known !== undefined) return known;
    const text = machineText(definitionOf(kind));
    this.#machines.set(kind, text);
    return text;
  }

  #send(message: StatelyMessage): Promise<void> {
    return this.#socket.send(message);
  }
}

/** One actor, of a sandbox its vms too; or the first of a list. Those that are done are left out, but for the one asked for. */
async function* presentActors(
  services: Services,
  filter: EntryFilter,
  one: ActorView | null,
): AsyncGenerator<ActorView> {
  if (one !== null) {
    yield one;
    if (one.kind === 'sandbox') yield* (await listMirrorsOf(services.sql, one.id)).reverse();
    return;
  }
  let cursor: string | undefined;
  for (let left = MAX_ACTORS; left > 0; ) {
    const { views, next_cursor } = await listActors(services, {
      ...{ teamId: filter.teamId, kind: filter.kind, state: null, labels: null, stuck: false },
      ...{ cursor, limit: Math.min(left, PAGE) },
    });
    yield* views.filter(({ done }) => !done);
    left -= views.length;
    if (next_cursor === null) return;
    cursor = next_cursor;
  }
}

/** Undefined where it does not follow from what is known: the viewer is then told the state alone. */
function contextAfter(known: Shown | undefined, { seq, diff }: JournalEntry): Json | undefined {
  if (!known && seq !== 1) return undefined;
  try {
    return applyDiff(known?.context ?? null, diff);
  } catch {
    return undefined;
  }
}

function isFinal(kind: string, path: string): boolean {
  return presentMachine(kind).root.states.some((state) => state.type === 'final' && state.path === path);
}
