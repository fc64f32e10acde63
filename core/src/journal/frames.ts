import { crc32c } from './crc32c.ts';

/** Length and checksum of the payload, each 4 bytes little-endian. */
const HEADER_BYTES = 8;
/** Longer than any frame that is written; a torn length must not ask for memory. */
const LONGEST_FRAME = 256 * 1024 * 1024;

/** One record: header, then JSON in UTF-8. */
export function encodeFrame(record: unknown): Buffer {
  const payload = Buffer.from(JSON.stringify(record));
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(payload.length, 0);
  header.writeUInt32LE(crc32c(payload), 4);
  return Buffer.concat([header, payload]);
}

/** The whole frames at the start of a file, and where the first torn one begins. */
export function decodeFrames(bytes: Buffer): { records: unknown[]; length: number } {
  const records: unknown[] = [];
  let at = 0;
  while (at + HEADER_BYTES <= bytes.length) {
    const size = bytes.readUInt32LE(at);
    const end = at + HEADER_BYTES + size;
    if (size === 0 || size > LONGEST_FRAME || end > bytes.length) break;
    const payload = bytes.subarray(at + HEADER_BYTES, end);
    if (crc32c(payload) !== bytes.readUInt32LE(at + 4)) break;
    records.push(JSON.parse(payload.toString()));
    at = end;
  }
  return { records, length: at };
}
