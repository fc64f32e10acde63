/** A file, folder or device node of an initrd. */
export interface CpioEntry {
  /** Path without a leading slash. */
  name: string;
  /** Type and permission bits as in st_mode, e.g. 0o100755. */
  mode: number;
  data?: Uint8Array;
  /** Major and minor number of a device node. */
  device?: [number, number];
}

const MAGIC = '070701';
const ALIGNMENT = 4;

/**
 * An uncompressed "newc" archive (Documentation/driver-api/early-userspace/buffer-format.rst of Linux).
 * Our own, since it must hold a device node and give the same bytes for the same input.
 */
export function cpio(entries: CpioEntry[]): Buffer {
  const trailer: CpioEntry = { name: 'TRAILER!!!', mode: 0 };
  return Buffer.concat([...entries, trailer].flatMap((entry, index) => encode(entry, index + 1)));
}

function encode(entry: CpioEntry, inode: number): Uint8Array[] {
  const data = entry.data ?? new Uint8Array();
  const [major, minor] = entry.device ?? [0, 0];
  const isFolder = (entry.mode & 0o170000) === 0o040000;
  const fields = [
    inode,
    entry.mode,
    0,
    0,
    isFolder ? 2 : 1,
    0,
    data.length,
    0,
    0,
    major,
    minor,
    entry.name.length + 1,
    0,
  ];
  const header = MAGIC + fields.map((field) => field.toString(16).padStart(8, '0')).join('');
  return [padded(Buffer.from(`${header}${entry.name}\0`)), padded(data)];
}

function padded(data: Uint8Array): Uint8Array {
  const missing = (ALIGNMENT - (data.length % ALIGNMENT)) % ALIGNMENT;
  return missing === 0 ? data : Buffer.concat([data, Buffer.alloc(missing)]);
}
