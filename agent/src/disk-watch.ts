import { statfs } from 'node:fs/promises';
import type { Logger } from '@wrenn/core';

const INTERVAL_MS = 10_000;
const MIB = 1 << 20;
/** Disks of sandboxes are sparse: below this much room, or this share of a small file system, they may meet its end. */
const LOW_MB = 10 * 1024;
const LOW_SHARE = 0.1;
/** A guest that goes on with less would stand still again in a moment. */
const ROOM_MB = 64;

/**
 * FS4: a file system that fills is told of before guests that write to it stand still: once when the room gets low, and
 * once when there is enough again. Heartbeats and metrics say how much there is. `room`: called while there is any to
 * speak of.
 */
export class DiskWatch {
  readonly #path: string;
  readonly #log: Logger;
  readonly #room: () => Promise<void>;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();
  #isLow = false;

  constructor(path: string, log: Logger, room: () => Promise<void>) {
    this.#path = path;
    this.#log = log;
    this.#room = room;
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.#looking = this.look().catch((error) => this.#log.warn({ err: error }, 'the disk cannot be watched'));
    }, INTERVAL_MS);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
  }

  async look(): Promise<void> {
    const { bsize, blocks, bavail } = await statfs(this.#path);
    const [free_mb, size_mb] = [bavail, blocks].map((count) => Math.floor((count * bsize) / MIB)) as [number, number];
    if (free_mb >= ROOM_MB) await this.#room();
    const isLow = free_mb < Math.min(LOW_MB, size_mb * LOW_SHARE);
    if (isLow === this.#isLow) return;
    this.#isLow = isLow;
    const where = { path: this.#path, free_mb, size_mb };
    if (isLow) this.#log.warn(where, 'the disk fills: guests that write stand still when it is full');
    else this.#log.info(where, 'the disk has room again');
  }
}
