import type { Connection } from './connection.ts';

export interface FileOptions {
  /** Whose file it is and whose rights count; default: the sandbox's user. */
  readonly user?: string;
  readonly signal?: AbortSignal;
}

export interface FileEntry {
  readonly name: string;
  readonly type: 'file' | 'directory' | 'symlink' | 'other';
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  readonly mode: number;
  readonly owner: string;
  readonly group: string;
  readonly modified_at: string;
  readonly symlink_target?: string;
}

export type FileContent = string | Uint8Array<ArrayBuffer> | Blob | ReadableStream<Uint8Array>;

/** Files of one sandbox (API3). Paths are absolute or relative to the user's home; parent folders are created. */
export class Files {
  readonly #connection: Connection;
  readonly #path: string;

  constructor(connection: Connection, sandboxId: string) {
    this.#connection = connection;
    this.#path = `/v1/sandboxes/${sandboxId}/files`;
  }

  /** Writes a whole file, replacing it; streams of any size. Throws `DiskFullError` when the guest's disk is full. */
  async write(path: string, content: FileContent, options: FileOptions = {}): Promise<void> {
    await this.#connection.json('POST', `${this.#path}/stream/write`, {
      query: { path, user: options.user },
      headers: { 'content-type': 'application/octet-stream' },
      body: content,
      signal: options.signal,
    });
  }

  async read(path: string, options: FileOptions = {}): Promise<Uint8Array> {
    return new Uint8Array(await (await this.#read(path, options)).arrayBuffer());
  }

  async readText(path: string, options: FileOptions = {}): Promise<string> {
    return (await this.#read(path, options)).text();
  }

  /** The bytes as they come; the reader sets the pace. */
  async readStream(path: string, options: FileOptions = {}): Promise<ReadableStream<Uint8Array>> {
    const { body } = await this.#read(path, options);
    return body ?? new ReadableStream({ start: (controller) => controller.close() });
  }

  /** Entries of a folder, `depth` levels deep (default 1). */
  async list(path: string, options: FileOptions & { readonly depth?: number } = {}): Promise<readonly FileEntry[]> {
    const { user, depth, signal } = options;
    const answer = await this.#connection.json<{ items: FileEntry[] }>('POST', `${this.#path}/list`, {
      json: { path, user, depth },
      signal,
    });
    return answer.items;
  }

  /** Makes a folder and its parents. One that exists is fine. */
  async mkdir(path: string, options: FileOptions = {}): Promise<void> {
    await this.#connection.json('POST', `${this.#path}/mkdir`, {
      json: { path, user: options.user },
      signal: options.signal,
    });
  }

  /** Removes a file, or a folder with all that is in it. One that is not there is fine. */
  async remove(path: string, options: FileOptions = {}): Promise<void> {
    await this.#connection.json('POST', `${this.#path}/remove`, {
      json: { path, user: options.user },
      signal: options.signal,
    });
  }

  #read(path: string, options: FileOptions): Promise<Response> {
    return this.#connection.response('POST', `${this.#path}/stream/read`, {
      json: { path, user: options.user },
      signal: options.signal,
    });
  }
}
