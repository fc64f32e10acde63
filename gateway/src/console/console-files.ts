import { readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';

const pack = promisify(gzip);

/** What `vite build` wrote. */
export const CONSOLE_DIST = join(import.meta.dirname, '../../../console/dist');

const MEDIA_TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};
/** No folder, no hidden file. */
const FILE_NAME = /^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+$/;

export interface ConsoleFile {
  readonly type: string;
  readonly plain: Buffer;
  readonly gzipped: Buffer;
}

/** The built console's files. Those whose name carries their digest never change and are kept once read. */
export class ConsoleFiles {
  readonly #dist: string;
  readonly #kept = new Map<string, ConsoleFile>();

  constructor(dist: string) {
    this.#dist = dist;
  }

  /** The one page; null where the console was not built. */
  page(): Promise<ConsoleFile | null> {
    return this.#read('index.html');
  }

  /** A file beside the page, under its own name. */
  async extra(name: string): Promise<ConsoleFile | null> {
    return FILE_NAME.test(name) && name !== 'index.html' ? this.#read(name) : null;
  }

  async asset(name: string): Promise<ConsoleFile | null> {
    if (!FILE_NAME.test(name)) return null;
    const file = this.#kept.get(name) ?? (await this.#read(join('assets', name)));
    if (file) this.#kept.set(name, file);
    return file;
  }

  async #read(path: string): Promise<ConsoleFile | null> {
    const type = MEDIA_TYPES[extname(path)];
    if (type === undefined) return null;
    try {
      const plain = await readFile(join(this.#dist, path));
      return { type, plain, gzipped: await pack(plain, { level: 9 }) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw error;
    }
  }
}
