import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from './random.ts';

/** What a client knows of one sandbox that it asked for. */
export interface Claim {
  readonly key: string;
  readonly wait: boolean;
  /** Of the first answer. */
  status: number | null;
  id: string | null;
  code: string | null;
  /** `asked`: a DELETE was sent; `done`: it was answered as done. */
  destroy: 'no' | 'asked' | 'done';
  destroyCode: string | null;
  /** Pauses and resumes, with their first answers; the last of them says where it stands. */
  readonly moves: Move[];
}

export interface Move {
  readonly path: 'pause' | 'resume';
  readonly key: string;
  status: number;
  code: string | null;
}

export interface Answer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: answers of all shapes
  readonly body: any;
}

/** The server said nothing final: it is away, stopping, or cannot reach its database. */
const NOT_FINAL = new Set(['unavailable', 'internal', 'not_owner']);
const PAUSE_MS = 60;

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
  readonly #url: string;
  readonly #key: string;
  readonly #random: Random;
  readonly #name: string;
  readonly #signal: AbortSignal;

  constructor({ url, apiKey, random, name, signal }: ClientOptions) {
    this.#signal = signal;
    this.#url = url;
    this.#key = apiKey;
    this.#random = random;
    this.#name = name;
  }

  /** One sandbox after the other until the signal; what is under way then is brought to its answer. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const claim: Claim = {
        key: `${this.#name}-${this.claims.length}`,
        wait: this.#random.chance(0.7),
        ...{ status: null, id: null, code: null, destroy: 'no', destroyCode: null, moves: [] },
      };
      this.claims.push(claim);
      await this.create(claim);
      if (claim.id === null) continue;
      await sleep(this.#random.whole(0, 800));
      while (claim.wait && claim.status === 201 && this.#random.chance(0.4)) await this.#move(claim);
      if (this.#random.chance(0.15)) continue; // it is left running
      claim.destroy = 'asked';
      await this.destroy(claim);
    }
  }

  /** The same every time it is called (Idempotency-Key). */
  async create(claim: Claim): Promise<Answer> {
    const body = { memory_mb: 128, labels: { claim: claim.key } };
    const answer = await this.call('POST', `/v1/sandboxes?wait=${claim.wait}`, body, { 'idempotency-key': claim.key });
    if (answer.status >= 400 && answer.status < 500) throw new Error(`create: ${JSON.stringify(answer)}`);
    if (claim.status === null) {
      claim.status = answer.status;
      claim.id = answer.body?.id ?? answer.body?.error?.details?.sandbox_id ?? null;
      claim.code = answer.body?.error?.code ?? null;
    }
    return answer;
  }

  /** Pauses what should run, resumes what should be paused. */
  async #move(claim: Claim): Promise<void> {
    const last = claim.moves.at(-1);
    const path = last?.path === 'pause' && last.status === 200 ? 'resume' : 'pause';
    const move: Move = { path, key: `${claim.key}-${claim.moves.length}`, status: 0, code: null };
    const { status, body } = await this.move(claim, move);
    move.status = status;
    move.code = body?.error?.code ?? null;
    claim.moves.push(move);
  }

  /** The same every time it is called. */
  move(claim: Claim, { path, key }: Move): Promise<Answer> {
    return this.call('POST', `/v1/sandboxes/${claim.id}/${path}`, undefined, { 'idempotency-key': key });
  }

  async destroy(claim: Claim): Promise<void> {
    const { status, body } = await this.call('DELETE', `/v1/sandboxes/${claim.id}`);
    claim.destroyCode = body?.error?.code ?? null;
    // The first DELETE may have been done, and its answer lost: then the second is refused.
    if (status === 204 || status === 404 || claim.destroyCode === 'illegal_command') claim.destroy = 'done';
  }

  /** Until the server says something final. */
  async call(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    for (;;) {
      this.#signal.throwIfAborted();
      const answer = await this.#send(method, path, body, headers).catch(() => null);
      if (answer && !(answer.status >= 500 && NOT_FINAL.has(answer.body?.error?.code))) return answer;
      await sleep(PAUSE_MS);
    }
  }

  async #send(method: string, path: string, body: unknown, headers: Record<string, string>): Promise<Answer> {
    const response = await fetch(this.#url + path, {
      method,
      headers: {
        'x-api-key': this.#key,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, body: text === '' ? null : JSON.parse(text) };
  }
}
