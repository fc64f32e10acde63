import { readdir, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError } from '../errors.ts';

/** A template's name is part of a path: nothing but these characters, and no leading dot. */
const NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/;
const SUFFIX = '.ext4';

export interface Image {
  readonly name: string;
  readonly path: string;
  readonly sizeBytes: number;
}

/** The base images of this host: `images/<name>.ext4`. */
export class Images {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** The image of a template, or the typed error `template_not_found`. */
  async find(name: string): Promise<Image> {
    const missing = () =>
      new AgentError('template_not_found', `this host has no image of the template ${JSON.stringify(name)}`);
    if (!NAME.test(name)) throw missing();
    try {
      const path = await realpath(join(this.#folder, name + SUFFIX));
      const { size } = await stat(path);
      return { name, path, sizeBytes: size };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw missing();
      throw error;
    }
  }

  async names(): Promise<string[]> {
    const files = await readdir(this.#folder);
    return files.filter((file) => file.endsWith(SUFFIX)).map((file) => file.slice(0, -SUFFIX.length));
  }
}
