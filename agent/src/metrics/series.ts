import { crc32 } from 'node:zlib';
import { type Point, Ring, type Usage } from './ring.ts';

/** Ranges that can be asked for, in seconds (MET2). */
export const RANGES_SEC = [600, 7_200, 86_400] as const;
export type RangeSec = (typeof RANGES_SEC)[number];

/** 10 min of 500 ms, 2 h of 30 s, 24 h of 5 min. */
const RINGS: Readonly<Record<RangeSec, { readonly stepMs: number; readonly size: number }>> = {
  600: { stepMs: 500, size: 1_200 },
  7200: { stepMs: 30_000, size: 240 },
  86400: { stepMs: 300_000, size: 288 },
};

/** First bytes of a file; another number where the layout is another. */
const MAGIC = 'WRNMET01';
const HEADER_BYTES = MAGIC.length + 2 * Float64Array.BYTES_PER_ELEMENT;
const CHECKSUM_BYTES = 4;

/** Everything that is remembered of one sandbox's use: about 48 KiB, in memory as on disk. */
export class Series {
  /** Of the guest, KiB; NaN until it has told. */
  memTotalKib = Number.NaN;
  diskTotalKib = Number.NaN;
  readonly #rings = new Map(RANGES_SEC.map((range) => [range, new Ring(RINGS[range].stepMs, RINGS[range].size)]));

  add(at: number, usage: Usage): void {
    for (const ring of this.#rings.values()) ring.add(at, usage);
  }

  points(range: RangeSec, now: number): { readonly stepMs: number; readonly points: Point[] } {
    const ring = this.#rings.get(range);
    if (!ring) throw new Error(`no ring of ${range} s`);
    return { stepMs: ring.stepMs, points: ring.points(now) };
  }

  /** Of one machine for itself: numbers in its own byte order. */
  toBytes(): Buffer {
    const bytes = Buffer.alloc(FILE_BYTES);
    bytes.write(MAGIC, 'latin1');
    bytes.writeDoubleLE(this.memTotalKib, MAGIC.length);
    bytes.writeDoubleLE(this.diskTotalKib, MAGIC.length + 8);
    let offset = HEADER_BYTES;
    for (const ring of this.#rings.values()) offset = ring.write(bytes, offset);
    bytes.writeUInt32LE(crc32(bytes.subarray(0, offset)), offset);
    return bytes;
  }

  /** Null for anything but a whole file of this layout. */
  static fromBytes(bytes: Buffer): Series | null {
    if (bytes.length !== FILE_BYTES || bytes.toString('latin1', 0, MAGIC.length) !== MAGIC) return null;
    const end = FILE_BYTES - CHECKSUM_BYTES;
    if (bytes.readUInt32LE(end) !== crc32(bytes.subarray(0, end))) return null;
    const series = new Series();
    series.memTotalKib = bytes.readDoubleLE(MAGIC.length);
    series.diskTotalKib = bytes.readDoubleLE(MAGIC.length + 8);
    let offset = HEADER_BYTES;
    for (const ring of series.#rings.values()) offset = ring.read(bytes, offset);
    return series;
  }
}

const FILE_BYTES =
  HEADER_BYTES +
  CHECKSUM_BYTES +
  RANGES_SEC.reduce((sum, range) => sum + new Ring(RINGS[range].stepMs, RINGS[range].size).bytes, 0);
