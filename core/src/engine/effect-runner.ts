import type { ActorDefinition, ActorRef, DomainEvent, RetryPolicy } from '../definition.ts';
import { errorFacts, TerminalError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { EffectHandler } from '../runtime.ts';
import type { EffectRow } from '../step/actor-state.ts';
import { effectKey, refKey } from '../step/refs.ts';

/** What the runner needs of the engine. */
export interface EffectHost {
  readonly definitions: ReadonlyMap<string, ActorDefinition>;
  readonly handlers: Readonly<Record<string, EffectHandler>>;
  readonly log: Logger;
  now(): number;
  epochOf(ref: ActorRef): number | null;
  /** Sends the result (or the give-up) to the actor. */
  finished(ref: ActorRef, effect: EffectRow, event: DomainEvent): void;
  saveAttempt(ref: ActorRef, effect: EffectRow): Promise<boolean>;
}

interface Run {
  readonly ref: ActorRef;
  effect: EffectRow;
  controller: AbortController | null;
  timeout: NodeJS.Timeout | undefined;
}

/** setTimeout counts in a signed 32-bit number of milliseconds. */
const LONGEST_WAIT_MS = 2 ** 31 - 1;
/** Handlers that do not heed their signal do not keep the runtime from stopping. */
const STOP_GRACE_MS = 5_000;

/** Runs the open effects of owned actors: at least once, after the commit that opened them, by their retry policy. */
export class EffectRunner {
  readonly #host: EffectHost;
  readonly #runs = new Map<string, Run>();
  readonly #active = new Set<Promise<void>>();

  constructor(host: EffectHost) {
    this.#host = host;
  }

  /** True while a handler works on it. */
  isRunning(ref: ActorRef, number: number): boolean {
    return this.#runs.get(effectKey(ref, number))?.controller != null;
  }

  get size(): number {
    return this.#runs.size;
  }

  /** An effect was opened, found open at start, or is to be tried again. One whose handler is at work goes on. */
  open(ref: ActorRef, effect: EffectRow): void {
    const key = effectKey(ref, effect.number);
    const present = this.#runs.get(key);
    if (present?.controller) return;
    if (present) clearTimeout(present.timeout);
    const run: Run = { ref, effect, controller: null, timeout: undefined };
    this.#runs.set(key, run);
    if (effect.status === 'open' && effect.nextAttemptAt !== null)
      this.#schedule(run, effect.nextAttemptAt - this.#host.now());
  }

  /** The actor does not expect it any more: its handler is told to stop, a result that comes all the same is late. */
  close(ref: ActorRef, number: number): void {
    const key = effectKey(ref, number);
    const run = this.#runs.get(key);
    if (!run) return;
    this.#runs.delete(key);
    clearTimeout(run.timeout);
    run.controller?.abort(new Error('the actor left the state that opened this effect'));
  }

  release(lost: (ref: ActorRef) => boolean): void {
    for (const { ref, effect } of [...this.#runs.values()]) if (lost(ref)) this.close(ref, effect.number);
  }

  /** Its result could not be applied: it stays open, visible with the reason, until a hand retries or gives it up. */
  async park(ref: ActorRef, number: number, error: unknown): Promise<void> {
    const run = this.#runs.get(effectKey(ref, number));
    if (!run) return;
    clearTimeout(run.timeout);
    run.effect = { ...run.effect, status: 'parked', nextAttemptAt: null, lastError: errorFacts(error) };
    await this.#host.saveAttempt(ref, run.effect);
  }

  /** Aborts what runs and waits for it; the effects stay open. */
  async stop(): Promise<void> {
    this.release(() => true);
    let timeout: NodeJS.Timeout | undefined;
    const grace = new Promise((resolve) => {
      timeout = setTimeout(resolve, STOP_GRACE_MS);
    });
    await Promise.race([Promise.all(this.#active), grace]);
    clearTimeout(timeout);
  }

  #schedule(run: Run, waitMs: number): void {
    if (waitMs <= 0) this.#start(run);
    else run.timeout = setTimeout(() => this.#start(run), Math.min(waitMs, LONGEST_WAIT_MS));
  }

  #start(run: Run): void {
    const running: Promise<void> = this.#run(run)
      .catch((error: unknown) => this.park(run.ref, run.effect.number, error)) // a fault of the definition
      .catch((err: unknown) => this.#host.log.error({ err, actor: refKey(run.ref) }, 'an effect could not be parked'))
      .finally(() => this.#active.delete(running));
    this.#active.add(running);
  }

  async #run(run: Run): Promise<void> {
    const { ref, effect } = run;
    const { host, key } = { host: this.#host, key: effectKey(ref, effect.number) };
    const epoch = host.epochOf(ref);
    if (epoch === null || this.#runs.get(key) !== run) return;
    const controller = new AbortController();
    run.controller = controller;
    try {
      const handler = host.handlers[effect.name];
      if (!handler) throw new TerminalError('not_implemented', `nothing does the effect ${effect.name} here`);
      const job = { key, name: effect.name, actor: ref, input: effect.input, attempt: effect.attempts + 1, epoch };
      const event = await handler(job, controller.signal);
      if (event) host.finished(ref, effect, event);
    } catch (error) {
      if (!controller.signal.aborted) await this.#failed(run, error);
    } finally {
      run.controller = null;
    }
  }

  async #failed(run: Run, error: unknown): Promise<void> {
    const { host, ref, effect } = { host: this.#host, ...run };
    const definition = host.definitions.get(ref.kind)?.effects[effect.name];
    const lastError = errorFacts(error);
    const attempts = effect.attempts + 1;
    host.log.warn({ actor: refKey(ref), effect: effect.name, attempts, err: error }, 'an effect failed');
    if (!definition) return;
    const { retry } = definition;
    if (error instanceof TerminalError || (retry.attempts !== null && attempts >= retry.attempts)) {
      return host.finished(ref, effect, definition.gaveUp(lastError, effect.input));
    }
    const waitMs = retryDelayMs(retry, attempts);
    const next: EffectRow = { ...effect, attempts, lastError, nextAttemptAt: host.now() + waitMs };
    run.effect = next;
    const open = await host.saveAttempt(ref, next).catch((cause: unknown) => {
      host.log.error({ err: cause, actor: refKey(ref) }, 'an attempt could not be recorded');
      return true;
    });
    if (open && this.#runs.get(effectKey(ref, effect.number)) === run) this.#schedule(run, waitMs);
  }
}

/** Pause before the attempt that follows the `failed`-th failure. */
export function retryDelayMs({ firstDelayMs, factor, maxDelayMs }: RetryPolicy, failed: number): number {
  return Math.min(maxDelayMs, firstDelayMs * factor ** (failed - 1));
}
