import { execFileSync } from 'node:child_process';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';

/** Fields of the x86 boot protocol's header (Documentation/arch/x86/boot.rst of Linux). */
const SETUP_SECTORS = 0x1f1;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;
const SECTOR = 512;
const ELF = Buffer.from([0x7f, 0x45, 0x4c, 0x46]);
const DECOMPRESSED_MAX = 256 * 1024 * 1024;

/**
 * The ELF image inside a bzImage. A VMM starts it by its PVH entry, so that no guest instruction is spent on
 * decompression: under emulation that is most of what happens before the first line of the kernel.
 */
export function extractVmlinux(bzImage: Buffer): Buffer {
  const setupSectors = bzImage[SETUP_SECTORS] || 4;
  const start = (setupSectors + 1) * SECTOR + bzImage.readUInt32LE(PAYLOAD_OFFSET);
  const payload = bzImage.subarray(start, start + bzImage.readUInt32LE(PAYLOAD_LENGTH));
  const image = decompress(payload);
  if (!image.subarray(0, 4).equals(ELF)) throw new Error('the kernel image holds no ELF file');
  return image;
}

/** The payload ends with its uncompressed size (4 bytes), which is no part of the stream. */
function decompress(payload: Buffer): Buffer {
  const stream = payload.subarray(0, -4);
  switch (payload.toString('hex', 0, 4)) {
    case '02214c18':
      return execFileSync('lz4', ['-d', '-c'], {
        input: stream,
        maxBuffer: DECOMPRESSED_MAX,
        stdio: ['pipe', 'pipe', 'ignore'],
      });
    case '28b52ffd':
      return zstdDecompressSync(stream);
    default:
      if (payload.readUInt16LE(0) === 0x8b1f) return gunzipSync(stream);
      throw new Error(`unknown compression of the kernel: ${payload.toString('hex', 0, 4)}`);
  }
}
