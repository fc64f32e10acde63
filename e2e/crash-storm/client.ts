import { setTimeout as sleep } from 'node:timers/promises';
import { type Claim, type CreateAsked, isDone, type Move, type Named, restOf } from './claim.ts';
import type { Random } from './random.ts';

export interface Answer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: answers of all shapes
  readonly body: any;
}

/** The server said nothing final: it is away, stopping, or cannot reach its database. */
const NOT_FINAL = new Set(['unavailable', 'internal', 'not_owner']);
const PAUSE_MS = 60;
/** Sandboxes that a client leaves alone before it comes back to the first of them. */
const MOST_LEFT = 2;
const MOST_CHILDREN = 2;
const BASE = 'minimal';
/** Another size than the default, so that no VM made ahead fits. */
const SMALL_MB = 128;

export interface ClientOptions {
  readonly url: string;
  readonly apiKey: string;
  readonly random: Random;
  readonly name: string;
  /** Ends it in the middle of a command. */
  readonly signal: AbortSignal;
}

/** A program that uses the API as one should: each command has a key, and is sent again until it is answered. */
export class Client {
  readonly claims: Claim[] = [];
  readonly named: Named[] = [];
  readonly #options: ClientOptions;
  readonly #random: Random;
  readonly #left: Claim[] = [];
  /** The command under way, and since when. */
  #asked: { what: string; since: number } | null = null;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.#random = options.random;
  }

  /** What it waits for, in words; null: for nothing. */
  get waitsFor(): string | null {
    if (this.#asked === null) return null;
    return `${this.#asked.what} for ${Math.round((Date.now() - this.#asked.since) / 1000)} s`;
  }

  /** One sandbox after the other until the signal; what is under way then is brought to its answer. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const claim = this.#claim(`${this.#options.name}-${this.claims.length}`, this.#whatToCreate());
      await this.create(claim);
      if (claim.id === null) continue;
      await sleep(this.#random.whole(0, 800));
      while (claim.create?.wait && claim.status === 201 && this.#random.chance(0.5)) await this.#move(claim);
      await this.#leave(claim, signal);
      if (this.named.some(({ deleted }) => !deleted) && this.#random.chance(0.1)) await this.#deleteNamed();
    }
  }

  /** The same every time it is called (Idempotency-Key). */
  async create(claim: Claim): Promise<Answer> {
    const { wait, template, memoryMb } = claim.create as CreateAsked;
    const size = memoryMb === null ? {} : { memory_mb: memoryMb };
    const body = { template, ...size, labels: { claim: claim.key } };
    const answer = await this.call('POST', `/v1/sandboxes?wait=${wait}`, body, claim.key);
    if (answer.status >= 400 && answer.status < 500) throw new Error(`create: ${JSON.stringify(answer)}`);
    if (claim.status === null) {
      claim.status = answer.status;
      claim.id = answer.body?.id ?? answer.body?.error?.details?.sandbox_id ?? null;
      claim.code = answer.body?.error?.code ?? null;
    }
    return answer;
  }

  /** Pauses, resumes and forks: the same every time it is called. */
  move(claim: Claim, { path, key }: Pick<Move, 'path' | 'key'>): Promise<Answer> {
    const body = path === 'fork' ? { count: 1 + (key.length % MOST_CHILDREN) } : undefined;
    return this.call('POST', `/v1/sandboxes/${claim.id}/${path}`, body, key);
  }

  async destroy(claim: Claim): Promise<void> {
    claim.destroy = 'asked';
    const { status, body } = await this.call('DELETE', `/v1/sandboxes/${claim.id}`);
    claim.destroyCode = body?.error?.code ?? null;
    // The first DELETE may have been done, and its answer lost: then the second is refused.
    if (status === 204 || status === 404 || claim.destroyCode === 'illegal_command') claim.destroy = 'done';
  }

  /** Until the server says something final. */
  async call(method: string, path: string, body?: unknown, idempotencyKey?: string): Promise<Answer> {
    this.#asked = { what: `${method} ${path}`, since: Date.now() };
    for (;;) {
      this.#options.signal.throwIfAborted();
      const answer = await this.#send(method, path, body, idempotencyKey).catch(() => null);
      if (answer && isFinal(answer)) {
        this.#asked = null;
        return answer;
      }
      if (answer !== null) this.#asked.what = `${method} ${path} (${answer.status} ${answer.body?.error?.code})`;
      await sleep(PAUSE_MS);
    }
  }

  #claim(key: string, create: CreateAsked | null): Claim {
    const claim: Claim = {
      key,
      create,
      ...{ status: null, id: null, code: null, destroy: 'no', destroyCode: null, moves: [] },
    };
    this.claims.push(claim);
    return claim;
  }

  #whatToCreate(): CreateAsked {
    const wait = this.#random.chance(0.7);
    const named = this.named.filter(({ deleted }) => !deleted);
    if (named.length > 0 && this.#random.chance(0.25)) {
      return { wait, template: this.#random.of(named).name, memoryMb: null };
    }
    return { wait, template: BASE, memoryMb: this.#random.chance(0.6) ? SMALL_MB : null };
  }

  /** It is destroyed, or left alone for a while, or for good. */
  async #leave(claim: Claim, over: AbortSignal): Promise<void> {
    if (!this.#random.chance(0.15)) return this.destroy(claim);
    this.#left.push(claim);
    while (this.#left.length > MOST_LEFT && !over.aborted) await this.destroy(this.#left.shift() as Claim);
  }

  /** Something that its state allows. */
  async #move(claim: Claim): Promise<void> {
    const other = restOf(claim) === 'paused' ? 'resume' : 'pause';
    const path = this.#random.of([other, other, other, 'fork', 'snapshot'] as const);
    const key = `${claim.key}-${claim.moves.length}`;
    const move: Move = { path, key, status: 0, code: null, message: null, children: [] };
    claim.moves.push(move);
    if (path === 'snapshot') return this.#name(claim, move);
    const answer = await this.move(claim, move);
    note(move, answer);
    if (path === 'fork' && isDone(move)) await this.#adopt(claim, move, answer);
  }

  /** The children are sandboxes like others; one of them may be left alone. */
  async #adopt(parent: Claim, move: Move, { body }: Answer): Promise<void> {
    move.children = childrenOf(body);
    const claims = move.children.map(({ id, error }) => {
      const claim = this.#claim(`${move.key}-${id}`, null);
      Object.assign(claim, { id, status: error === null ? 201 : 500, code: error });
      return claim;
    });
    const never = new AbortController().signal;
    for (const claim of claims) {
      if (parent.moves.length % 2 === 0) await this.#leave(claim, never);
      else await this.destroy(claim);
    }
  }

  /** A command without a key: where its answer was lost, the second one finds the name taken. */
  async #name(claim: Claim, move: Move): Promise<void> {
    const name = `s${move.key}`.toLowerCase();
    const answer = await this.call('POST', '/v1/snapshots', { sandbox_id: claim.id, name });
    note(move, answer);
    if (move.code === 'already_exists') {
      move.status = 0;
      while ((await this.call('GET', `/v1/sandboxes/${claim.id}`)).body?.operation === 'snapshotting')
        await sleep(PAUSE_MS);
    }
    if (isDone(move)) this.named.push({ name, sandboxId: claim.id ?? '', deleted: false });
  }

  async #deleteNamed(): Promise<void> {
    const named = this.#random.of(this.named.filter(({ deleted }) => !deleted));
    named.deleted = true; // from the moment that it is asked, nobody may count on it
    const { status, body } = await this.call('DELETE', `/v1/snapshots/${named.name}`);
    if (status !== 204 && status !== 404) throw new Error(`delete ${named.name}: ${status} ${JSON.stringify(body)}`);
  }

  async #send(method: string, path: string, body: unknown, idempotencyKey: string | undefined): Promise<Answer> {
    const response = await fetch(this.#options.url + path, {
      method,
      headers: {
        'x-api-key': this.#options.apiKey,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, body: text === '' ? null : JSON.parse(text) };
  }
}

/** An answer that names a sandbox is what came of it. */
function isFinal({ status, body }: Answer): boolean {
  return status < 500 || !NOT_FINAL.has(body?.error?.code) || body.error.details?.sandbox_id !== undefined;
}

/** Of the answer to a fork. */
export function childrenOf(body: Answer['body']): Move['children'] {
  const items = body.items as { sandbox?: { id: string }; error?: { sandbox_id: string; code: string } }[];
  return items.map(({ sandbox, error }) => ({
    id: sandbox?.id ?? error?.sandbox_id ?? '',
    error: error?.code ?? null,
  }));
}

function note(move: Move, { status, body }: Answer): void {
  move.status = status;
  move.code = body?.error?.code ?? null;
  move.message = body?.error?.message ?? null;
}
