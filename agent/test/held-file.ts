import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { type FileHandle, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/**
 * A file that the agent waits for as for a disk that does not answer: a pipe in its place. Let go, it reads as what was
 * there, or as an empty file where nothing was, and the pipe is gone.
 */
export class HeldFile {
  readonly #path: string;
  readonly #content: string | null;
  #writer: FileHandle | null = null;

  private constructor(path: string, content: string | null) {
    this.#path = path;
    this.#content = content;
  }

  static async hold(path: string): Promise<HeldFile> {
    const content = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
      return null;
    });
    await run('mkfifo', ['--mode=600', `${path}.held`]);
    await rename(`${path}.held`, path);
    return new HeldFile(path, content);
  }

  /** The agent waits for it now. Rejects where `call` is over before that. */
  async reached(call: Promise<unknown>): Promise<void> {
    let isOver = false;
    const giveUp = async () => {
      isOver = true;
      const reader = await open(this.#path, 'r+').catch(() => null); // whoever opens it to write goes on
      await reader?.close();
    };
    call.then(giveUp, giveUp);
    this.#writer = await open(this.#path, 'w');
    if (isOver) throw new Error(`nobody came to read ${this.#path}`);
  }

  async letGo(): Promise<void> {
    if (this.#content === null) await rm(this.#path);
    else {
      await writeFile(`${this.#path}.held`, this.#content, { mode: 0o600 });
      await rename(`${this.#path}.held`, this.#path);
    }
    await this.#writer?.writeFile(this.#content ?? '').catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error; // who read it was killed
    });
    await this.#writer?.close();
  }
}

/** Until a file appears; gives up once `call` is over. */
export async function comes(path: string, call: Promise<unknown>): Promise<void> {
  let over = false;
  const end = () => {
    over = true;
  };
  call.then(end, end);
  while (!existsSync(path) && !over) await new Promise((resolve) => setImmediate(resolve));
}
