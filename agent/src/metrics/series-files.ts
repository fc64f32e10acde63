import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Series } from './series.ts';

/** Ids of sandboxes are names of files here; nothing else is one. */
const SANDBOX_ID = /^[a-z0-9]{1,64}$/;

/** One file per sandbox in `WRENN_DIR/metrics`, replaced whole. Lost with the machine's power at most since the last write. */
export class SeriesFiles {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async prepare(): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
  }

  /** Null where there is none, or none that is whole. */
  async load(sandboxId: string): Promise<Series | null> {
    const bytes = await readFile(this.#path(sandboxId)).catch(() => null);
    return bytes && Series.fromBytes(bytes);
  }

  async save(sandboxId: string, series: Series): Promise<void> {
    const path = this.#path(sandboxId);
    await writeFile(`${path}.new`, series.toBytes(), { mode: 0o600 });
    await rename(`${path}.new`, path);
  }

  /** One that is not there is fine, and so is an id that no file can have. */
  async remove(sandboxId: string): Promise<void> {
    if (SANDBOX_ID.test(sandboxId)) await rm(this.#path(sandboxId), { force: true });
  }

  /** Removes all but these, and what a write that was cut left. */
  async keepOnly(sandboxIds: ReadonlySet<string>): Promise<void> {
    for (const name of await readdir(this.#folder)) {
      if (!sandboxIds.has(name)) await rm(join(this.#folder, name), { force: true });
    }
  }

  #path(sandboxId: string): string {
    if (!SANDBOX_ID.test(sandboxId)) throw new Error(`not the id of a sandbox: ${JSON.stringify(sandboxId)}`);
    return join(this.#folder, sandboxId);
  }
}
