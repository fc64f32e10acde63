import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { AgentError } from '../errors.ts';

/** A template's name is part of a path: nothing but these characters, and no leading dot. */
const NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/;
const SUFFIX = '.ext4';
const MANIFEST_SUFFIX = '.json';

/** What is read of an image's manifest (images/build.ts). */
const manifest = z.object({ ready_port: z.number().int().min(1).max(65535).nullish() });

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

  /** Port of the guest that accepts connections once the image's services are ready; null where it has none. */
  async readyPort(name: string): Promise<number | null> {
    const { path } = await this.find(name);
    try {
      const text = await readFile(path.slice(0, -SUFFIX.length) + MANIFEST_SUFFIX, 'utf8');
      return manifest.parse(JSON.parse(text)).ready_port ?? null;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null; // an image that was not built here
      throw error;
    }
  }

  async names(): Promise<string[]> {
    const files = await readdir(this.#folder);
    return files.filter((file) => file.endsWith(SUFFIX)).map((file) => file.slice(0, -SUFFIX.length));
  }
}
