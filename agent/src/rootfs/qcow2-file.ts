import { open } from 'node:fs/promises';

/** Format: https://www.qemu.org/docs/master/interop/qcow2.html, version 3. All numbers are big-endian. */
const MAGIC = 0x5146_49fb;
const VERSION = 3;
const CLUSTER_BITS = 16;
const CLUSTER = 1 << CLUSTER_BITS;
const HEADER_BYTES = 104;
const BACKING_FORMAT = 0xe279_2aca;
/** 2⁴ bits for each reference count. */
const REFCOUNT_ORDER = 4;
/** What one entry of the L1 table stands for: a cluster full of 8-byte entries, each for one cluster. */
const BYTES_PER_L1_ENTRY = (CLUSTER / 8) * CLUSTER;
/** Header, reference count table, its one block, L1 table: one cluster each. */
const CLUSTERS = 4;

export interface OverlaySpec {
  /** Size that a guest sees, a multiple of 512. */
  readonly sizeBytes: number;
  /** The layer below, named relative to the overlay. */
  readonly backing: string;
  readonly backingFormat: 'raw' | 'qcow2';
}

/**
 * Writes an empty overlay at a path that is not there. The same as `qemu-img create` makes, without starting a program: a
 * create of a sandbox waits for it.
 */
export async function writeOverlay(path: string, spec: OverlaySpec): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.truncate(CLUSTERS * CLUSTER);
    await file.write(header(spec), 0, undefined, 0);
    const table = Buffer.alloc(8);
    table.writeBigUInt64BE(BigInt(2 * CLUSTER));
    await file.write(table, 0, undefined, CLUSTER);
    const counts = Buffer.alloc(2 * CLUSTERS);
    for (let cluster = 0; cluster < CLUSTERS; cluster++) counts.writeUInt16BE(1, 2 * cluster);
    await file.write(counts, 0, undefined, 2 * CLUSTER);
  } finally {
    await file.close();
  }
}

function header({ sizeBytes, backing, backingFormat }: OverlaySpec): Buffer {
  const format = Buffer.from(backingFormat);
  const padded = Math.ceil(format.length / 8) * 8;
  const nameAt = HEADER_BYTES + 8 + padded + 8; // one extension, and the end of them
  const bytes = Buffer.alloc(nameAt + Buffer.byteLength(backing));
  bytes.writeUInt32BE(MAGIC, 0);
  bytes.writeUInt32BE(VERSION, 4);
  bytes.writeBigUInt64BE(BigInt(nameAt), 8);
  bytes.writeUInt32BE(Buffer.byteLength(backing), 16);
  bytes.writeUInt32BE(CLUSTER_BITS, 20);
  bytes.writeBigUInt64BE(BigInt(sizeBytes), 24);
  bytes.writeUInt32BE(Math.ceil(sizeBytes / BYTES_PER_L1_ENTRY), 36);
  bytes.writeBigUInt64BE(BigInt(3 * CLUSTER), 40);
  bytes.writeBigUInt64BE(BigInt(CLUSTER), 48);
  bytes.writeUInt32BE(1, 56); // clusters of the reference count table
  bytes.writeUInt32BE(REFCOUNT_ORDER, 96);
  bytes.writeUInt32BE(HEADER_BYTES, 100);
  bytes.writeUInt32BE(BACKING_FORMAT, HEADER_BYTES);
  bytes.writeUInt32BE(format.length, HEADER_BYTES + 4);
  format.copy(bytes, HEADER_BYTES + 8);
  bytes.write(backing, nameAt);
  return bytes;
}
