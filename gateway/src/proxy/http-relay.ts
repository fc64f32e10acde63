import type { HttpResponse } from 'uWebSockets.js';
import type { AgentPool } from './agent-pool.ts';
import type { AgentExchange, AgentSocket, SocketFailure } from './agent-socket.ts';
import type { BodyPipe } from './body-pipe.ts';
import { HttpAnswer } from './http-answer.ts';

/** What an agent's front says of itself, apart from what a guest says. */
const FRONT_ERROR = 'wrenn-error-code';

/** How one try to reach a guest ended, other than by its answer. */
export type Outcome =
  | { readonly kind: 'answered' }
  /** Nobody is there to be told. */
  | { readonly kind: 'aborted' }
  | { readonly kind: 'refused'; readonly code: string }
  | { readonly kind: 'failed'; readonly failure: SocketFailure };

export interface OutgoingRequest {
  readonly head: string;
  /** Repeating it changes nothing (RFC 9110, 9.2.2). */
  readonly idempotent: boolean;
  /** Fields added to the guest's answer. */
  readonly added: readonly (readonly [string, string])[];
}

/** One request and its answer between a client and an agent: bytes both ways, each side as fast as the other takes them. */
export class HttpRelay {
  readonly answer: HttpAnswer;
  readonly #headOnly: boolean;
  readonly #body: BodyPipe | null;
  #socket: AgentSocket | null = null;
  #settle: ((outcome: Outcome) => void) | null = null;

  constructor(res: HttpResponse, headOnly: boolean, body: BodyPipe | null) {
    this.#headOnly = headOnly;
    this.answer = new HttpAnswer(res, headOnly);
    this.#body = body;
    this.answer.beforeEnd = () => body?.discard();
  }

  /** Nothing of the body is lost yet: the request can be sent to another place. */
  get repeatable(): boolean {
    return this.#body === null || !this.#body.handedOn;
  }

  /** The client is gone: the guest learns it by its connection closing. */
  aborted(): void {
    this.answer.aborted();
    this.#body?.abort();
    this.#socket?.destroy();
    this.#finish({ kind: 'aborted' });
  }

  /** Cuts what is under way, when the program stops. */
  cut(): void {
    this.#socket?.destroy();
    this.answer.cut();
    this.#finish({ kind: 'aborted' });
  }

  async send(pool: AgentPool, request: OutgoingRequest): Promise<Outcome> {
    const first = await this.#try(pool, request, false);
    const again = first.kind === 'failed' && first.failure === 'stale' && request.idempotent && this.repeatable;
    return again ? this.#try(pool, request, true) : first;
  }

  #try(pool: AgentPool, request: OutgoingRequest, fresh: boolean): Promise<Outcome> {
    return new Promise((resolve) => {
      this.#settle = resolve;
      if (this.answer.over) {
        this.#finish({ kind: 'aborted' });
        return;
      }
      const socket = pool.send(this.#exchange(request), request.head, {
        headOnly: this.#headOnly,
        hasBody: this.#body !== null,
        fresh,
      });
      this.#socket = socket;
      this.#body?.attach(socket);
    });
  }

  #exchange({ added }: OutgoingRequest): AgentExchange {
    const { answer } = this;
    answer.onWritable = () => this.#socket?.resume();
    let bare = false;
    let refusal: string | null = null;
    return {
      cork: (work) => answer.cork(work),
      onHead: (status, fields, length) => {
        refusal = frontError(fields);
        if (refusal !== null) return;
        bare = status === 204 || status === 304;
        answer.head(status, fields, length, added);
      },
      onBody: (bytes) => {
        if (refusal === null && !answer.write(bytes)) this.#socket?.pause();
      },
      onEnd: () => {
        this.#socket = null;
        if (refusal !== null) {
          this.#finish({ kind: 'refused', code: refusal });
          return;
        }
        if (bare) answer.endBare();
        else answer.end();
        this.#finish({ kind: 'answered' });
      },
      onFailure: (failure) => {
        this.#socket = null;
        if (answer.started) {
          answer.cut();
          this.#finish({ kind: 'answered' });
        } else {
          this.#finish({ kind: 'failed', failure });
        }
      },
      onWritable: () => this.#body?.writable(),
    };
  }

  #finish(outcome: Outcome): void {
    const settle = this.#settle;
    this.#settle = null;
    settle?.(outcome);
  }
}

function frontError(fields: readonly string[]): string | null {
  for (let at = 0; at < fields.length; at += 2) if (fields[at] === FRONT_ERROR) return fields[at + 1] as string;
  return null;
}
