import { Commands } from './commands.ts';
import { Connection, type ConnectionOptions } from './connection.ts';
import { ConflictError } from './errors.ts';
import { Files } from './files.ts';
import type { components } from './openapi.generated.ts';

/** The sandbox as the API shows it (API1). */
export type SandboxInfo = components['schemas']['Sandbox'];

/** What sandboxes can start from: an image, or what a sandbox was when `snapshot` was called (API4). */
export type TemplateInfo = components['schemas']['Template'];

/** A child of a fork that did not come to run. */
export interface ForkError {
  readonly code: string;
  readonly message: string;
  readonly sandboxId: string;
}

/** Fields of create (VM10); each absent one has the API's default. */
export interface CreateOptions extends ConnectionOptions {
  /** An image, or the name of a snapshot: then vCPUs and memory are the snapshot's. */
  readonly template?: string;
  readonly vcpus?: number;
  readonly memoryMb?: number;
  readonly diskSizeMb?: number;
  /** Seconds without activity after which it is paused (or destroyed, as `onTimeout` says); 0 = never. */
  readonly timeoutSec?: number;
  readonly onTimeout?: 'pause' | 'destroy';
  /** Absolute end of its life, apart from idleness, and what then is done. */
  readonly endsAt?: Date;
  readonly onEnd?: 'kill' | 'pause';
  /** Traffic to its ports, commands and access to its files resume it when it is paused. */
  readonly autoResume?: boolean;
  readonly labels?: Readonly<Record<string, string>>;
  readonly envs?: Readonly<Record<string, string>>;
  /** Makes a retried create meet the same sandbox. Default: a random one, so that a lost answer can be asked for again. */
  readonly idempotencyKey?: string;
  readonly signal?: AbortSignal;
}

export interface ConnectOptions extends ConnectionOptions {
  /**
   * Resumes it where it is paused, and resolves when it runs; throws `ConflictError` where it cannot run any more.
   * Default: it is left as it is.
   */
  readonly resume?: boolean;
  readonly signal?: AbortSignal;
}

export interface ListOptions extends ConnectionOptions {
  readonly status?: SandboxInfo['status'];
  readonly signal?: AbortSignal;
}

/** Statuses that another follows by itself. */
const CHANGING: ReadonlySet<SandboxInfo['status']> = new Set(['pending', 'starting', 'pausing', 'resuming']);
/** Between two looks at one that somebody else is pausing or resuming. */
const LOOK_MS = 100;

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
        on_timeout: options.onTimeout,
        ends_at: options.endsAt?.toISOString(),
        on_end: options.onEnd,
        auto_resume: options.autoResume,
        labels: options.labels,
        envs: options.envs,
      },
      signal: options.signal,
    });
    return new Sandbox(connection, info.id);
  }

  /** An existing sandbox of the team. Throws `NotFoundError` where there is none. */
  static async connect(id: string, options: ConnectOptions = {}): Promise<Sandbox> {
    const sandbox = new Sandbox(new Connection(options), id);
    if (options.resume === true) await sandbox.#wake(options.signal);
    else await sandbox.info(options.signal);
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

  /** Changes labels (replacing them), idle timeout or end of a living sandbox; `endsAt: null` takes its end away. */
  update(changes: {
    readonly labels?: Readonly<Record<string, string>>;
    readonly timeoutSec?: number;
    readonly onTimeout?: 'pause' | 'destroy';
    readonly endsAt?: Date | null;
    readonly onEnd?: 'kill' | 'pause';
    readonly autoResume?: boolean;
  }): Promise<SandboxInfo> {
    const { labels, timeoutSec, onTimeout, endsAt, onEnd, autoResume } = changes;
    return this.#connection.json<SandboxInfo>('PATCH', this.#path, {
      json: {
        labels,
        timeout_sec: timeoutSec,
        on_timeout: onTimeout,
        ends_at: endsAt === null ? null : endsAt?.toISOString(),
        on_end: onEnd,
        auto_resume: autoResume,
      },
    });
  }

  /** Seconds without activity after which it is paused; 0 = never. In force at once. */
  setTimeout(timeoutSec: number): Promise<SandboxInfo> {
    return this.update({ timeoutSec });
  }

  /** Counts as activity: the idle time starts anew. */
  async ping(): Promise<void> {
    await this.#connection.json('POST', `${this.#path}/ping`);
  }

  /**
   * Freezes it into files, with its processes and memory; it costs its host nothing else then. Where that fails it runs on.
   * Throws `ConflictError` where it is not running.
   */
  pause(options: { readonly idempotencyKey?: string; readonly signal?: AbortSignal } = {}): Promise<SandboxInfo> {
    return this.#command<SandboxInfo>('pause', options);
  }

  /** Lets it run on where it stood. Throws `UnavailableError` where its host has no room now; it stays paused. */
  resume(options: { readonly idempotencyKey?: string; readonly signal?: AbortSignal } = {}): Promise<SandboxInfo> {
    return this.#command<SandboxInfo>('resume', options);
  }

  /**
   * Starts `count` others (1 to 100) from what it is at this moment; it runs on. Resolves when each of them runs or has
   * failed, with those that run and why the others do not.
   */
  async fork(
    count = 1,
    options: { readonly idempotencyKey?: string; readonly signal?: AbortSignal } = {},
  ): Promise<{ sandboxes: Sandbox[]; errors: ForkError[] }> {
    const { items } = await this.#command<{ items: components['schemas']['ForkedSandbox'][] }>('fork', options, {
      count,
    });
    const sandboxes: Sandbox[] = [];
    const errors: ForkError[] = [];
    for (const item of items) {
      if ('sandbox' in item) sandboxes.push(new Sandbox(this.#connection, item.sandbox.id));
      else {
        const { code, message, sandbox_id: sandboxId } = item.error;
        errors.push({ code, message, sandboxId });
      }
    }
    return { sandboxes, errors };
  }

  /** Keeps what it is at this moment as a template: `Sandbox.create({ template: name })`. It runs on, or stays paused. */
  snapshot(
    name: string,
    options: { readonly idempotencyKey?: string; readonly signal?: AbortSignal } = {},
  ): Promise<TemplateInfo> {
    return this.#connection.json<TemplateInfo>('POST', '/v1/snapshots', {
      headers: { 'idempotency-key': options.idempotencyKey ?? crypto.randomUUID() },
      json: { sandbox_id: this.id, name },
      signal: options.signal,
    });
  }

  /** Deletes a snapshot of the team. Sandboxes that were made from it run on. */
  static async deleteSnapshot(
    name: string,
    options: ConnectionOptions & { readonly signal?: AbortSignal } = {},
  ): Promise<void> {
    const connection = new Connection(options);
    await connection.json('DELETE', `/v1/snapshots/${encodeURIComponent(name)}`, { signal: options.signal });
  }

  /** Destroys it and resolves when everything it held is released. */
  async kill(): Promise<void> {
    await this.#connection.json('DELETE', this.#path);
  }

  #command<T>(
    verb: string,
    {
      idempotencyKey = crypto.randomUUID(),
      signal,
    }: { readonly idempotencyKey?: string; readonly signal?: AbortSignal },
    json?: unknown,
  ): Promise<T> {
    return this.#connection.json<T>('POST', `${this.#path}/${verb}`, {
      headers: { 'idempotency-key': idempotencyKey },
      ...(json !== undefined && { json }),
      signal,
    });
  }

  /** Resolves when it runs, also where somebody else is pausing or resuming it. */
  async #wake(signal: AbortSignal | undefined): Promise<void> {
    for (;;) {
      const { status } = await this.info(signal);
      if (status === 'running') return;
      if (!CHANGING.has(status)) {
        try {
          await this.resume(signal ? { signal } : {});
          return;
        } catch (error) {
          if (!(error instanceof ConflictError) || (await this.info(signal)).status === status) throw error;
        }
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }

  get #path(): string {
    return `/v1/sandboxes/${this.id}`;
  }
}
