import { type FileHandle, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { WrennError } from '../errors.ts';
import { decodeFrames, encodeFrame } from './frames.ts';

/** The log is rewritten as a snapshot when it is this long and several times as long as the last snapshot. */
const COMPACT_BYTES = 8 * 1024 * 1024;
const COMPACT_RATIO = 4;

/** How long a record that nobody waits for may stay unsynced when nothing comes after it. */
const QUIET_MS = 1_000;

interface Waiting {
  readonly frame: Buffer;
  readonly record: unknown;
  /** Whether it must be durable before it is applied; else it is enough that it is written. */
  readonly durable: boolean;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export interface JournalFileOptions {
  readonly dir: string;
  /** Applied in the order of the file: at start each stored record, later each one as soon as it is durable, or written. */
  readonly apply: (record: unknown) => void;
  /** All that was applied is durable now. */
  readonly synced: () => void;
  /** Records that give the present state again, for the snapshot. */
  readonly compacted: () => Iterable<unknown>;
  readonly compactBytes?: number;
  readonly quietMs?: number;
}

/**
 * An append-only log of records in a folder, durable by group `fdatasync`, kept bounded by snapshots.
 *
 * A record that need not be durable at once is only written; the next sync covers it, at the latest `QUIET_MS` after. Its
 * place in the file is before all later ones, so that a crash takes a tail away and never something in the middle.
 *
 * `snapshot` (absent at first) says with its first record which log follows it: `log.<generation>`. A compaction writes
 * `snapshot.new` and an empty next log, syncs both, and renames: at every moment one snapshot and its log are whole.
 */
export class JournalFile {
  readonly #options: JournalFileOptions;
  #log: FileHandle | null = null;
  #generation = 0;
  #length = 0;
  /** As much of the log as is durable. */
  #syncedLength = 0;
  #snapshotLength = 0;
  #waiting: Waiting[] = [];
  #writing: Promise<void> | null = null;
  #broken: unknown = null;
  #syncs = 0;
  #quiet: NodeJS.Timeout | undefined;

  constructor(options: JournalFileOptions) {
    this.#options = options;
  }

  /** `fdatasync` calls since the start, for measurements. */
  get syncs(): number {
    return this.#syncs;
  }

  async open(): Promise<void> {
    const { dir, apply } = this.#options;
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await this.#readSnapshot();
    const path = this.#logPath(this.#generation);
    const bytes = await readFile(path).catch(absent);
    const { records, length } = decodeFrames(bytes ?? Buffer.alloc(0));
    for (const record of records) apply(record);
    this.#log = await open(path, 'a', 0o600);
    if (bytes && bytes.length > length) {
      await this.#log.truncate(length); // the tail that was being written when the process or the machine died
    }
    await this.#log.sync(); // what a killed process had only written is told to others from now on
    this.#length = length;
    this.#syncedLength = length;
    await this.#removeStale();
    await syncDir(dir);
    this.#options.synced();
  }

  /** Resolves when the record is durable (or only written, where that is enough) and applied. */
  append(record: unknown, { durable = true }: { readonly durable?: boolean } = {}): Promise<void> {
    if (this.#broken || !this.#log) {
      return Promise.reject(new WrennError('unavailable', 'the journal cannot be written', { cause: this.#broken }));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ frame: encodeFrame(record), record, durable, resolve, reject });
      this.#start();
    });
  }

  /** Resolves when all that was applied is durable. */
  async sync(): Promise<void> {
    while (this.#syncedLength < this.#length && this.#log && !this.#broken) {
      this.#start();
      await this.#writing;
    }
    if (this.#broken) throw new WrennError('unavailable', 'the journal cannot be written', { cause: this.#broken });
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.sync().catch(() => undefined); // it is broken: whoever wrote was told
    clearTimeout(this.#quiet);
    await this.#log?.close();
    this.#log = null;
  }

  #start(): void {
    clearTimeout(this.#quiet);
    this.#writing ??= this.#write().finally(() => {
      this.#writing = null;
      if (this.#syncedLength < this.#length && !this.#broken) {
        this.#quiet = setTimeout(() => void this.sync().catch(() => undefined), this.#options.quietMs ?? QUIET_MS);
      }
    });
  }

  /** All that gathered while the last sync was under way goes with one write and at most one sync. Nothing: only the sync. */
  async #write(): Promise<void> {
    do {
      const group = this.#waiting;
      this.#waiting = [];
      try {
        await this.#writeGroup(group);
      } catch (error) {
        for (const { reject } of group) reject(error);
        continue;
      }
      for (const { record } of group) this.#options.apply(record);
      if (this.#syncedLength === this.#length) this.#options.synced();
      for (const { resolve } of group) resolve();
      if (this.#length >= this.#compactAt()) await this.#compact().catch((error: unknown) => this.#break(error));
    } while (this.#waiting.length > 0);
  }

  async #writeGroup(group: readonly Waiting[]): Promise<void> {
    const log = this.#log;
    if (!log || this.#broken)
      throw new WrennError('unavailable', 'the journal cannot be written', { cause: this.#broken });
    const bytes = Buffer.concat(group.map(({ frame }) => frame));
    try {
      if (bytes.length > 0) await log.appendFile(bytes);
    } catch (error) {
      // A full disk: what was half written is cut off, so that the next group follows the last whole frame.
      await log.truncate(this.#length).catch((cause: unknown) => this.#break(cause));
      throw error;
    }
    this.#length += bytes.length;
    if (group.length > 0 && !group.some(({ durable }) => durable)) return;
    try {
      await log.datasync();
      this.#syncs += 1;
    } catch (error) {
      this.#break(error); // after a failed sync the kernel may have dropped the pages: nothing here can be trusted
      throw error;
    }
    this.#syncedLength = this.#length;
  }

  #break(error: unknown): void {
    this.#broken ??= error;
  }

  #compactAt(): number {
    return Math.max(this.#options.compactBytes ?? COMPACT_BYTES, COMPACT_RATIO * this.#snapshotLength);
  }

  async #compact(): Promise<void> {
    const { dir, compacted } = this.#options;
    const generation = this.#generation + 1;
    const next = join(dir, 'snapshot.new');
    const frames = [encodeFrame({ type: 'snapshot', generation })];
    for (const record of compacted()) frames.push(encodeFrame(record));
    frames.push(encodeFrame({ type: 'end' }));
    const bytes = Buffer.concat(frames);
    const file = await open(next, 'w', 0o600);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    const log = await open(this.#logPath(generation), 'w', 0o600);
    await log.close();
    const appending = await open(this.#logPath(generation), 'a', 0o600);
    await syncDir(dir);
    await rename(next, join(dir, 'snapshot'));
    await syncDir(dir);
    await this.#log?.close();
    this.#log = appending;
    this.#generation = generation;
    this.#length = 0;
    this.#syncedLength = 0;
    this.#snapshotLength = bytes.length;
    this.#options.synced();
    await this.#removeStale();
  }

  async #readSnapshot(): Promise<void> {
    const bytes = await readFile(join(this.#options.dir, 'snapshot')).catch(absent);
    if (!bytes) return;
    const { records, length } = decodeFrames(bytes);
    const [head, ...rest] = records as { type: string; generation?: number }[];
    const end = rest.pop();
    // It was synced before it was renamed: damage is no torn write, and starting without it would forget what lives.
    if (length !== bytes.length || head?.type !== 'snapshot' || end?.type !== 'end') {
      throw new WrennError('internal', `the journal's snapshot in ${this.#options.dir} is damaged`);
    }
    for (const record of rest) this.#options.apply(record);
    this.#generation = head.generation ?? 0;
    this.#snapshotLength = bytes.length;
  }

  #logPath(generation: number): string {
    return join(this.#options.dir, `log.${generation}`);
  }

  async #removeStale(): Promise<void> {
    const { dir } = this.#options;
    const present = `log.${this.#generation}`;
    const stale = (await readdir(dir)).filter(
      (name) => name === 'snapshot.new' || (/^log\.\d+$/.test(name) && name !== present),
    );
    for (const name of stale) await rm(join(dir, name), { force: true });
  }
}

/** Makes names in a folder durable: files that were made, renamed or removed. */
export async function syncDir(dir: string): Promise<void> {
  const handle = await open(dir, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function absent(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null;
  throw error;
}
