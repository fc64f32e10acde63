import { Commands } from './commands.ts';
import { Connection, type ConnectionOptions } from './connection.ts';
import { Files } from './files.ts';
import type { components } from './openapi.generated.ts';

/** The sandbox as the API shows it (API1). */
export type SandboxInfo = components['schemas']['Sandbox'];

/** Fields of create (VM10); each absent one has the API's default. */
export interface CreateOptions extends ConnectionOptions {
  readonly template?: string;
  readonly vcpus?: number;
  readonly memoryMb?: number;
  readonly diskSizeMb?: number;
  /** Seconds without activity after which it is put away; 0 = never. */
  readonly timeoutSec?: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly envs?: Readonly<Record<string, string>>;
  /** Makes a retried create meet the same sandbox. Default: a random one, so that a lost answer can be asked for again. */
  readonly idempotencyKey?: string;
  readonly signal?: AbortSignal;
}

export interface ListOptions extends ConnectionOptions {
  readonly status?: SandboxInfo['status'];
  readonly signal?: AbortSignal;
}

/** One microVM: run commands in it, read and write its files, end it. */
export class Sandbox {
  readonly id: string;
  readonly commands: Commands;
  readonly files: Files;
  readonly #connection: Connection;

  private constructor(connection: Connection, id: string) {
    this.#connection = connection;
    this.id = id;
    this.commands = new Commands(connection, id);
    this.files = new Files(connection, id);
  }

  /** Creates one and resolves when it runs. Throws `UnavailableError` where no host has room. */
  static async create(options: CreateOptions = {}): Promise<Sandbox> {
    const connection = new Connection(options);
    const info = await connection.json<SandboxInfo>('POST', '/v1/sandboxes', {
      headers: { 'idempotency-key': options.idempotencyKey ?? crypto.randomUUID() },
      json: {
        template: options.template,
        vcpus: options.vcpus,
        memory_mb: options.memoryMb,
        disk_size_mb: options.diskSizeMb,
        timeout_sec: options.timeoutSec,
        labels: options.labels,
        envs: options.envs,
      },
      signal: options.signal,
    });
    return new Sandbox(connection, info.id);
  }

  /** An existing sandbox of the team. Throws `NotFoundError` where there is none. */
  static async connect(
    id: string,
    options: ConnectionOptions & { readonly signal?: AbortSignal } = {},
  ): Promise<Sandbox> {
    const sandbox = new Sandbox(new Connection(options), id);
    await sandbox.info(options.signal);
    return sandbox;
  }

  /** All sandboxes of the team, newest first, fetched page by page as they are read. */
  static async *list(options: ListOptions = {}): AsyncGenerator<SandboxInfo, void, undefined> {
    const connection = new Connection(options);
    let cursor: string | undefined;
    do {
      const page = await connection.json<{ items: SandboxInfo[]; next_cursor: string | null }>('GET', '/v1/sandboxes', {
        query: { status: options.status, cursor },
        signal: options.signal,
      });
      yield* page.items;
      cursor = page.next_cursor ?? undefined;
    } while (cursor !== undefined);
  }

  info(signal?: AbortSignal): Promise<SandboxInfo> {
    return this.#connection.json<SandboxInfo>('GET', this.#path, { signal });
  }

  /** Changes labels (replacing them) or the idle timeout of a living sandbox. */
  update(changes: {
    readonly labels?: Readonly<Record<string, string>>;
    readonly timeoutSec?: number;
  }): Promise<SandboxInfo> {
    const { labels, timeoutSec: timeout_sec } = changes;
    return this.#connection.json<SandboxInfo>('PATCH', this.#path, { json: { labels, timeout_sec } });
  }

  /** Counts as activity: the idle time starts anew. */
  async ping(): Promise<void> {
    await this.#connection.json('POST', `${this.#path}/ping`);
  }

  /** Destroys it and resolves when everything it held is released. */
  async kill(): Promise<void> {
    await this.#connection.json('DELETE', this.#path);
  }

  get #path(): string {
    return `/v1/sandboxes/${this.id}`;
  }
}
