import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ActorRef } from '../definition.ts';
import { giveUpEnvelope, retryEnvelope, sent } from '../engine/by-hand.ts';
import { Engine } from '../engine/engine.ts';
import { envelopeOf } from '../engine/envelope.ts';
import { openEffect, openTimer } from '../engine/open-work.ts';
import { silentLog } from '../log.ts';
import type { JournalRuntime } from '../runtime.ts';
import type { RuntimeOptions } from '../runtime-options.ts';
import { legalCommands } from '../step/legal-commands.ts';
import { rowView } from '../step/stored-actor.ts';
import { JournalFeed } from './journal-feed.ts';
import { JournalFile } from './journal-file.ts';
import { type JournalRecord, JournalState } from './journal-state.ts';
import { JournalStore } from './journal-store.ts';
import { readStoreId } from './store-id.ts';

export interface JournalRuntimeOptions extends RuntimeOptions {
  /** The journal's own folder; made when absent. */
  readonly dir: string;
  /** Takes an exclusive lock on a file or rejects at once (`lockFile` of the addon: Node has no flock). */
  readonly lock: (path: string) => Promise<{ release(): void }>;
  /** Entries kept for readers of the feed. */
  readonly keepEntries?: number;
  /** How long an actor that is done is remembered. */
  readonly keepDoneMs?: number;
  /** Length of the log at which it is rewritten. */
  readonly compactBytes?: number;
  /** How long what is only written stays so when nothing comes after it. */
  readonly quietMs?: number;
}

const KEEP_ENTRIES = 10_000;
const KEEP_DONE_MS = 7 * 24 * 3_600_000;
/** One group at a time: what comes during a sync goes with the next. */
const LANES = 1;

/** The durable actor runtime over a journal on disk. Nothing is read before `start()`. */
export function createJournalRuntime(options: JournalRuntimeOptions): JournalRuntime {
  const { dir, definitions, handlers, log = silentLog } = options;
  const state = new JournalState({
    entries: options.keepEntries ?? KEEP_ENTRIES,
    doneMs: options.keepDoneMs ?? KEEP_DONE_MS,
  });
  const file = new JournalFile({
    dir,
    apply: (record) => state.apply(record as JournalRecord),
    synced: () => {
      state.synced();
      feed.wake();
    },
    compacted: () => state.compacted(Date.now()),
    ...(options.compactBytes === undefined ? {} : { compactBytes: options.compactBytes }),
    ...(options.quietMs === undefined ? {} : { quietMs: options.quietMs }),
  });
  const feed = new JournalFeed(state);
  const store = new JournalStore(file, state, log);
  const engine = new Engine({ store, definitions, handlers, log, lanes: LANES });
  let lock: { release(): void } | null = null;
  let storeId = '';

  const effectRow = (ref: ActorRef, number: number) => state.actor(ref)?.effects.get(number);

  return {
    get storeId() {
      return storeId;
    },
    get cursor() {
      return String(state.shownPosition);
    },
    get syncs() {
      return file.syncs;
    },
    definitions: engine.definitions,
    ask: async (to, event, send) => engine.ask(envelopeOf(to, event, send, true), send),
    tell: async (to, event, send) => sent(engine, envelopeOf(to, event, send, false)),
    async read(ref) {
      const row = state.shownRow(ref);
      return row ? rowView(engine.machine(ref.kind), row) : null;
    },
    async list(kind) {
      const rows = state.shownRows().filter((row) => kind === undefined || row.kind === kind);
      return rows.map((row) => rowView(engine.machine(row.kind), row));
    },
    async timers(ref) {
      await file.sync();
      return [...(state.actor(ref)?.timers.values() ?? [])].map(openTimer);
    },
    async effects(ref) {
      await file.sync();
      return [...(state.actor(ref)?.effects.values() ?? [])].map((effect) => openEffect(engine, ref, effect));
    },
    legalCommands: (view) => legalCommands(engine.machine(view.kind), view as never, store.now()),
    async journal({ kind, id }, { afterSeq = 0, limit = 100 }) {
      return state.entries
        .filter((entry) => entry.kind === kind && entry.id === id && entry.seq > afterSeq)
        .filter(({ cursor }) => Number(cursor) <= state.shownPosition)
        .slice(0, limit);
    },
    feed: (cursor, signal) => feed.read(cursor, signal),
    async retryEffect(ref, number, cause) {
      if (!effectRow(ref, number)) return false;
      await sent(engine, retryEnvelope(ref, number, cause));
      return true;
    },
    async giveUpEffect(ref, number, cause) {
      const effect = effectRow(ref, number);
      const envelope = effect && giveUpEnvelope(engine, ref, effect, cause);
      if (!envelope) return false;
      await sent(engine, envelope);
      return true;
    },
    async start() {
      await mkdir(dir, { recursive: true, mode: 0o700 });
      lock = await options.lock(join(dir, 'lock'));
      try {
        storeId = await readStoreId(dir);
        await file.open();
      } catch (error) {
        lock.release();
        throw error;
      }
      store.takeOver(engine);
    },
    async stop() {
      await engine.stop();
      feed.stop();
      await file.close();
      lock?.release();
      lock = null;
    },
  };
}
