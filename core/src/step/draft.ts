import type { AnyMachineSnapshot } from 'xstate';
import type { Answer, DurableActionParams, EventMeta, Json } from '../definition.ts';
import type { ActorState, AnswerRow, AuditRow, EffectRow, Envelope, OutboxRow, TimerRow } from './actor-state.ts';
import type { Changes } from './changes.ts';
import { entryOf } from './entry.ts';
import { jsonDiff } from './json-diff.ts';
import type { Happening, MachineStep, PreparedMachine } from './prepared-machine.ts';
import { refKey } from './refs.ts';
import { pathOf, publicContextOf, publicView, viewOf } from './view.ts';

/** What one step causes, computed in full before anything of the actor is changed. */
export class Draft {
  readonly #machine: PreparedMachine;
  readonly #state: ActorState;
  readonly #envelope: Envelope;
  readonly #meta: EventMeta;
  readonly #seq: number;
  readonly #visits: Record<string, number>;
  #counter: number;
  #entered = false;
  #opening: string[] = [];
  readonly #timers = new Map<string, TimerRow | null>();
  readonly #closed = new Set<number>();
  readonly #opened: EffectRow[] = [];
  readonly #answered: AnswerRow[] = [];
  readonly #outbox: OutboxRow[] = [];
  readonly #audits: DurableActionParams['audit'][] = [];

  constructor(machine: PreparedMachine, state: ActorState, envelope: Envelope, meta: EventMeta) {
    this.#machine = machine;
    this.#state = state;
    this.#envelope = envelope;
    this.#meta = meta;
    this.#seq = state.seq + 1;
    this.#visits = { ...state.ledger.visits };
    this.#counter = state.ledger.counter;
  }

  clearTimer(name: string): void {
    this.#timers.set(name, null);
  }

  closeEffect(number: number): void {
    this.#closed.add(number);
  }

  read(happenings: readonly Happening[], snapshot: AnyMachineSnapshot): void {
    for (const happening of happenings) this.#happen(happening);
    for (const name of this.#opening) this.#open(name, snapshot);
  }

  #happen(happening: Happening): void {
    switch (happening.type) {
      case 'entered':
        this.#counter += 1;
        this.#visits[happening.node] = this.#counter;
        this.#entered = true;
        break;
      case 'exited':
        delete this.#visits[happening.node];
        this.#opening = this.#opening.filter((name) => this.#effect(name).while !== happening.node);
        for (const { number, node } of this.#state.effects.values())
          if (node === happening.node) this.#closed.add(number);
        break;
      case 'timer':
        this.#setTimer(happening.name, happening.delayMs);
        break;
      case 'cancel':
        this.#timers.set(happening.name, null);
        break;
      case 'action':
        this.#act(happening.action, happening.params);
        break;
    }
  }

  /** A delay that is no finite number (`Infinity`) means never: nothing is set. */
  #setTimer(name: string, delayMs: number): void {
    this.#counter += 1;
    const dueAt = Math.ceil(this.#meta.at + Math.max(0, delayMs));
    const set = Number.isSafeInteger(dueAt);
    this.#timers.set(name, set ? { name, visit: this.#counter, ...this.#machine.delayOf(name), dueAt } : null);
  }

  #act(action: string, params: unknown): void {
    if (action === 'effect') this.#opening.push((params as DurableActionParams['effect']).name);
    else if (action === 'send') this.#send(params as DurableActionParams['send']);
    else if (action === 'audit') this.#audits.push(params as DurableActionParams['audit']);
    else if (action === 'answer') {
      const { to, answer } = params as DurableActionParams['answer'];
      if (to !== null) this.#answered.push({ messageId: to, answer });
    }
  }

  #send({ to, event }: DurableActionParams['send']): void {
    const id = `${refKey(this.#state.ref)}:${this.#seq}:${this.#outbox.length + 1}`;
    const cause = { type: 'actor', kind: this.#state.ref.kind, id: this.#state.ref.id, seq: this.#seq } as const;
    this.#outbox.push({ id, to, event, cause, asked: false });
  }

  #effect(name: string) {
    const effect = this.#machine.definition.effects[name];
    if (!effect) throw new Error(`${this.#machine.definition.kind} has no effect ${name}`);
    return effect;
  }

  /** An effect whose state was left again within the same step is not opened. */
  #open(name: string, snapshot: AnyMachineSnapshot): void {
    const effect = this.#effect(name);
    const visit = this.#visits[effect.while];
    if (visit === undefined || snapshot.status !== 'active') return;
    this.#counter += 1;
    const input = effect.input(snapshot.context, this.#meta);
    const { at } = this.#meta;
    this.#opened.push({
      number: this.#counter,
      name,
      node: effect.while,
      visit,
      input,
      openedAt: at,
      attempts: 0,
      nextAttemptAt: at,
      lastError: null,
      status: 'open',
    });
  }

  /** All that may throw is called before the first assignment to the state. */
  commit({ snapshot }: MachineStep, changes: Changes): void {
    const { definition } = this.#machine;
    const { at } = this.#meta;
    const state = this.#state;
    const first = state.seq === 0;
    const sameValue = !first && JSON.stringify(snapshot.value) === JSON.stringify(state.snapshot.value);
    const sameContext = !first && snapshot.context === state.snapshot.context;
    const publicContext = sameContext ? state.publicContext : publicContextOf(definition, snapshot.context);
    const diff = sameContext ? [] : jsonDiff(state.publicContext, publicContext);
    const next: ActorState = {
      ...state,
      seq: this.#seq,
      snapshot,
      machineVersion: definition.version,
      since: sameValue && !this.#entered ? state.since : at,
      updatedAt: at,
      path: sameValue ? state.path : pathOf(snapshot),
      teamId: sameContext ? state.teamId : (definition.teamOf?.(snapshot.context) ?? null),
      publicContext,
    };
    const view = viewOf(next);
    const projected = (definition.projections ?? []).map((projection) => ({
      projection: projection as never,
      upsert: projection.upsert?.(view) ?? [],
      remove: projection.remove?.(view) ?? [],
    }));
    const answers = this.#answers(next);
    const from = first ? null : (state.snapshot.value as Json);

    Object.assign(state, next, { ledger: { counter: this.#counter, visits: this.#visits, owed: answers.owed } });
    changes.entries.push({
      ...entryOf(this.#envelope, at),
      seq: this.#seq,
      outcome: 'transition',
      from,
      to: view.state,
      path: next.path,
      diff,
      machineVersion: next.machineVersion,
      teamId: next.teamId,
    });
    changes.answers.push(...answers.rows);
    changes.outbox.push(...this.#outbox);
    for (const audit of this.#audits) changes.audits.push(auditRow(audit, this.#envelope, at, next.teamId));
    for (const [name, timer] of this.#timers) this.#applyTimer(name, timer, changes);
    for (const number of this.#closed) {
      state.effects.delete(number);
      changes.closeEffect(number);
    }
    for (const effect of this.#opened) {
      state.effects.set(effect.number, effect);
      changes.setEffect(effect);
    }
    for (const { projection, upsert, remove } of projected) changes.project(projection, upsert, remove);
  }

  #applyTimer(name: string, timer: TimerRow | null, changes: Changes): void {
    if (timer) {
      this.#state.timers.set(name, timer);
      changes.setTimer(timer);
    } else if (this.#state.timers.delete(name)) changes.clearTimer(name);
  }

  /** Exactly one answer per command (I8): a second one is ignored, and one still owed at the actor's end is a failure. */
  #answers(next: ActorState): { rows: AnswerRow[]; owed: string[] } {
    const rows: AnswerRow[] = [];
    const { id, event, asked } = this.#envelope;
    const command = this.#machine.definition.commands[event.type];
    const owed = new Set(this.#state.ledger.owed);
    if (command?.answer === 'later') owed.add(id);
    else if (command || asked) rows.push({ messageId: id, answer: { ok: true, value: publicView(next) } });
    for (const row of this.#answered) if (owed.delete(row.messageId)) rows.push(row);
    if (next.snapshot.status !== 'active') {
      const answer: Answer = {
        ok: false,
        error: { code: 'actor_done', message: `ended as ${next.path} without an answer` },
      };
      for (const messageId of owed) rows.push({ messageId, answer });
      owed.clear();
    }
    return { rows, owed: [...owed] };
  }
}

function auditRow(
  params: DurableActionParams['audit'],
  { cause }: Envelope,
  at: number,
  teamId: string | null,
): AuditRow {
  const { action, status, metadata } = params;
  const id = 'id' in cause ? cause.id : null;
  const name = 'name' in cause ? (cause.name ?? null) : null;
  return { at, teamId, actor: { type: cause.type, id, name }, action, status, metadata: metadata ?? {} };
}
