import type { ActorDefinition, ActorRef, ActorView, Answer, Cause, DomainEvent, Json } from '@wrenn/core';
import type {
  ActorState,
  AuditRow,
  EffectRow,
  Envelope,
  OutboxRow,
  TimerRow,
} from '../../../core/src/step/actor-state.ts';
import { Changes } from '../../../core/src/step/changes.ts';
import { legalCommands } from '../../../core/src/step/legal-commands.ts';
import { PreparedMachine } from '../../../core/src/step/prepared-machine.ts';
import { effectKey } from '../../../core/src/step/refs.ts';
import { createActor, stepActor } from '../../../core/src/step/step.ts';
import { actorRow, restoreActor } from '../../../core/src/step/stored-actor.ts';
import { viewOf } from '../../../core/src/step/view.ts';

export type Outcome = 'transition' | 'refused' | 'late';

/** Time of a test: moves only when told to. */
export class Clock {
  now = 1_700_000_000_000;
}

const machines = new Map<ActorDefinition, PreparedMachine>();

/** Preparing a machine costs more than all steps of a test run. */
function prepared(definition: ActorDefinition): PreparedMachine {
  let machine = machines.get(definition);
  if (!machine) {
    machine = new PreparedMachine(definition);
    machines.set(definition, machine);
  }
  return machine;
}

/**
 * One actor over core's own pure step, with its rows in memory: what the runtime does between two commits, without a
 * store, a clock or handlers. The test decides when a timer fires, what an effect comes to, and when the process "dies".
 */
export class ActorInMemory<Context = unknown> {
  readonly ref: ActorRef;
  readonly answers = new Map<string, Answer[]>();
  readonly audits: AuditRow[] = [];
  /** Messages to other actors; who carries them takes them out. */
  readonly outbox: OutboxRow[] = [];
  readonly envelopes: { envelope: Envelope; at: number }[] = [];
  /** Rows of the read models, by table and then by key. */
  readonly tables = new Map<string, Map<string, Record<string, Json>>>();
  readonly #machine: PreparedMachine;
  readonly #clock: Clock;
  readonly #seen = new Set<string>();
  #state: ActorState | null = null;
  #messages = 0;

  constructor(definition: ActorDefinition<Context>, id: string, clock = new Clock()) {
    this.ref = { kind: definition.kind, id };
    this.#machine = prepared(definition);
    this.#clock = clock;
  }

  get definition(): ActorDefinition {
    return this.#machine.definition;
  }

  get exists(): boolean {
    return this.#state !== null;
  }

  get view(): ActorView<Context> {
    return viewOf(this.#need()) as ActorView<Context>;
  }

  get context(): Context {
    return this.view.context;
  }

  get path(): string {
    return this.#need().path;
  }

  get snapshot(): ActorState['snapshot'] {
    return this.#need().snapshot;
  }

  get timers(): TimerRow[] {
    return [...this.#need().timers.values()];
  }

  get effects(): EffectRow[] {
    return [...this.#need().effects.values()];
  }

  /** Message ids of commands that still wait for their answer. */
  get owed(): readonly string[] {
    return this.#need().ledger.owed;
  }

  /** Whether it would take this command now. */
  takes(type: string): boolean {
    const commands = legalCommands(this.#machine, this.view as ActorView<never>, this.#clock.now);
    return commands.some((command) => command.type === type && command.legal);
  }

  keyOf(effect: EffectRow): string {
    return effectKey(this.ref, effect.number);
  }

  /** The key of the open effect of this name. */
  key(name: string): string {
    const effect = this.effects.find((one) => one.name === name);
    if (!effect) throw new Error(`${name} is not open in ${this.path}`);
    return this.keyOf(effect);
  }

  /** Delivers a message; one with an id that was seen is dropped, as the inbox does. */
  send(event: DomainEvent, options: { id?: string; effectKey?: string; cause?: Cause } = {}): Outcome | 'duplicate' {
    this.#messages += 1;
    const id = options.id ?? `${this.ref.kind}:${this.ref.id}:message:${this.#messages}`;
    const cause = options.cause ?? { type: 'system' };
    const { effectKey: key } = options;
    return this.#deliver({
      id,
      to: this.ref,
      event,
      cause,
      asked: false,
      ...(key === undefined ? {} : { effectKey: key }),
    });
  }

  /** Delivers what the open effect of this name came to. */
  result(name: string, event: DomainEvent): Outcome | 'duplicate' {
    return this.send(event, { effectKey: this.key(name) });
  }

  /** Moves the clock to the timer's time and fires it. */
  fire(delay: string): Outcome | 'duplicate' {
    const timer = this.timers.find((one) => one.delay === delay);
    if (!timer) throw new Error(`${delay} is not set in ${this.path}`);
    return this.fireTimer(timer);
  }

  fireTimer(timer: TimerRow): Outcome | 'duplicate' {
    this.#clock.now = Math.max(this.#clock.now, timer.dueAt);
    const { name, visit } = timer;
    return this.#deliver({
      id: `${this.ref.kind}:${this.ref.id}:timer:${name}:${visit}`,
      to: this.ref,
      event: { type: name },
      cause: { type: 'timer', name: timer.delay },
      asked: false,
      timer: { name, visit },
    });
  }

  /** The process dies and another one loads what was committed. */
  restart(): void {
    const state = this.#need();
    const row = JSON.parse(JSON.stringify(actorRow(this.#machine, state)));
    this.#state = restoreActor(this.#machine, row, [...state.timers.values()], [...state.effects.values()]);
  }

  /** The same messages to a new actor: I7 says that it ends the same. */
  replayed(): ActorInMemory<Context> {
    const clock = new Clock();
    const again = new ActorInMemory<Context>(this.definition, this.ref.id, clock);
    for (const { envelope, at } of this.envelopes) {
      clock.now = at;
      again.#deliver(envelope);
    }
    return again;
  }

  #need(): ActorState {
    if (!this.#state) throw new Error(`${this.ref.kind} ${this.ref.id} does not exist`);
    return this.#state;
  }

  #deliver(envelope: Envelope): Outcome | 'duplicate' {
    if (this.#seen.has(envelope.id)) return 'duplicate';
    const changes = new Changes();
    if (this.#state) stepActor(this.#machine, this.#state, envelope, this.#clock.now, changes);
    else {
      const { type } = envelope.event;
      if (!this.definition.commands[type]?.creates) throw new Error(`${type} to ${this.ref.id}, which does not exist`);
      this.#state = createActor(this.#machine, envelope, this.#clock.now, changes);
    }
    this.#seen.add(envelope.id);
    this.envelopes.push({ envelope, at: this.#clock.now });
    this.#keep(changes);
    return changes.entries.at(-1)?.outcome ?? 'late';
  }

  #keep(changes: Changes): void {
    for (const { messageId, answer } of changes.answers) {
      this.answers.set(messageId, [...(this.answers.get(messageId) ?? []), answer]);
    }
    this.audits.push(...changes.audits);
    this.outbox.push(...changes.outbox);
    for (const { table, upsert, remove } of changes.projections()) {
      const rows = this.tables.get(table) ?? new Map<string, Record<string, Json>>();
      this.tables.set(table, rows);
      const key = this.definition.projections?.find((one) => one.table === table)?.key ?? [];
      const keyOf = (row: Record<string, Json>) => key.map((column) => String(row[column])).join(' ');
      for (const row of remove) rows.delete(keyOf(row));
      for (const row of upsert) rows.set(keyOf(row), row);
    }
  }
}
