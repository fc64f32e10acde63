import assert from 'node:assert/strict';
import type { ActorRef, DomainEvent } from '@wrenn/core';
import { hostDefinition } from '../host/definition.ts';
import type { HostContext } from '../host/events.ts';
import { status as hostStatus } from '../host/project.ts';
import { sandboxDefinition } from '../sandbox/definition.ts';
import type { VmTarget } from '../sandbox/effects.ts';
import type { SandboxContext, SandboxEvent, SandboxSpec } from '../sandbox/events.ts';
import { holdsVm, status } from '../sandbox/project.ts';
import { eventOfReport, isNewsTo } from '../sandbox/report.ts';
import { snapshotDefinition } from '../snapshot/definition.ts';
import type { SnapshotContext } from '../snapshot/events.ts';
import { ActorInMemory, Clock } from './actor-in-memory.ts';
import { FakeHost } from './fake-host.ts';
import { checkFleet, checkLoss } from './fleet-checks.ts';
import { type CallResult, type HostCall, receive } from './host-calls.ts';
import { createSandbox, hostSpecs } from './samples.ts';

export type Sandbox = ActorInMemory<SandboxContext>;
export type Host = ActorInMemory<HostContext>;
export type Snapshot = ActorInMemory<SnapshotContext>;

/** Sandboxes that a host has room for. */
const ROOM = 2;

/** More than any run needs until nothing happens any more. */
const MOST_ROUNDS = 100;

/** A call of an effect's handler to a host: it may outlive the effect, and its answer may be lost. */
interface Call extends HostCall {
  readonly actor: Sandbox;
  /** Set once the host has it. */
  result: CallResult | null;
}

/** A message on its way; those of one actor to another arrive in their order. */
interface Letter {
  readonly to: ActorRef;
  readonly event: DomainEvent;
  readonly id?: string;
  readonly from?: string;
}

/**
 * A small fleet in memory: real `sandbox` and `host` actors, hosts of real `vm` actors, and between them messages that
 * are delayed, doubled, reordered and lost. Every method is one thing that can happen.
 */
export class Fleet {
  readonly clock = new Clock();
  readonly hosts: FakeHost[] = [];
  readonly hostActors = new Map<string, Host>();
  readonly sandboxes: Sandbox[] = [];
  readonly reservations = new Map<string, { host: string; incarnation: number }>();
  readonly snapshots = new Map<string, Snapshot>();
  /** Messages to sandboxes and snapshots that were told and not yet handled. */
  readonly mail: Letter[] = [];
  calls: Call[] = [];
  #messages = 0;
  #made = 0;

  constructor(hosts: number) {
    for (let i = 1; i <= hosts; i += 1) this.#addHost(`host-${i}`);
  }

  create(spec: Partial<SandboxSpec>): void {
    const id = this.#newSandboxId();
    this.#create(id, createSandbox(spec, spec.timeout_sec === undefined), `create:${id}`);
  }

  /** A snapshot that people name, or a fork into so many. */
  branch(sandbox: Sandbox, children: number): void {
    this.#messages += 1;
    const snapshot_id = `tpl-${this.#messages}`;
    const ids = Array.from({ length: children }, () => this.#newSandboxId());
    const command: SandboxEvent =
      children === 0
        ? { type: 'SNAPSHOT', snapshot_id, name: snapshot_id, created_by: 'usr-1' }
        : {
            type: 'FORK',
            snapshot_id,
            children: ids.map((sandbox_id) => ({ sandbox_id, access_token: 'a', traffic_token: 't' })),
            created_by: 'usr-1',
          };
    this.#send(sandbox, command, { id: `command:${this.#messages}` });
    // Who asks for the outcome may come before the sandbox's own message.
    if (sandbox.context.operation?.snapshot_id === snapshot_id && this.#messages % 2 === 0) {
      this.#deliver({ to: { kind: 'snapshot', id: snapshot_id }, event: { type: 'AWAIT', team_id: 'team-1' } });
    }
  }

  /** A person deletes a template. */
  deleteTemplate(snapshot: Snapshot): void {
    this.#deliver({ to: snapshot.ref, event: { type: 'DELETE' } });
  }

  /** A handler of an open effect of a snapshot actor runs to its end. */
  attemptSnapshot(snapshot: Snapshot): void {
    const [effect] = snapshot.effects;
    const host = this.hosts.find(({ id }) => id === snapshot.context.host_id);
    if (!effect || !host || (!host.reachable && !host.ended)) return;
    if (!host.ended) host.deleteSnapshot(snapshot.ref.id);
    snapshot.result(effect.name, { type: 'SNAPSHOT_GONE' });
    this.#post(snapshot);
  }

  command(sandbox: Sandbox, event: SandboxEvent): void {
    this.#messages += 1;
    this.#send(sandbox, event, { id: `command:${this.#messages}` });
  }

  /** A message comes a second time: the inbox knows it. */
  repeat(sandbox: Sandbox, index: number): void {
    const { envelope } = sandbox.envelopes[index % sandbox.envelopes.length] ?? {};
    if (!envelope) return;
    const { seq } = sandbox.view;
    assert.equal(sandbox.send(envelope.event, { id: envelope.id }), 'duplicate');
    assert.equal(sandbox.view.seq, seq);
  }

  /** A handler of an open effect of a sandbox starts an attempt. */
  attempt(sandbox: Sandbox, index: number): void {
    const effect = sandbox.effects[index % Math.max(1, sandbox.effects.length)];
    if (!effect) return;
    const key = sandbox.keyOf(effect);
    if (effect.name === 'sandbox.place' || effect.name === 'sandbox.reserve') {
      this.#place(sandbox, key);
      return;
    }
    if (this.calls.filter((call) => call.key === key).length >= 2) return;
    this.calls.push({ actor: sandbox, name: effect.name, key, input: effect.input as VmTarget, result: null });
  }

  /** The host gets the call, or the answer gets back, as far as the network lets them. */
  carry(call: Call): void {
    const host = this.hosts.find(({ id }) => id === call.input.host_id);
    if (!host?.reachable || host.ended) return;
    if (call.result === null) call.result = receive(host, call);
    else {
      const event = call.result();
      if (event === null) return; // the host is still at it
      this.calls = this.calls.filter((one) => one !== call);
      this.#send(call.actor, event, { effectKey: call.key });
    }
  }

  lose(call: Call): void {
    this.calls = this.calls.filter((one) => one !== call);
  }

  deliver(index: number): void {
    const picked = this.mail[index % Math.max(1, this.mail.length)];
    if (!picked) return;
    const first = this.mail.findIndex(
      (one) => one === picked || (one.from !== undefined && one.from === picked.from && one.to.id === picked.to.id),
    );
    for (const letter of this.mail.splice(first, 1)) this.#deliver(letter);
  }

  /** The next report of the host's watch stream. */
  watch(host: FakeHost): void {
    if (!host.reachable || host.watched >= host.reports.length) return;
    const report = host.reports[host.watched];
    host.watched += 1;
    const sandbox = this.sandboxes.find(({ ref }) => ref.id === report?.sandboxId);
    const event = report && eventOfReport(report.facts);
    if (sandbox && event && sandbox.context.host_id === host.id) this.#send(sandbox, event);
  }

  heartbeat(host: FakeHost): void {
    if (!host.reachable) return;
    const { storeId, cursor } = host;
    const vms = host.vms.size;
    this.#actorOf(host).send({ type: 'HEARTBEAT', store_id: storeId, cursor, vms, load: {} });
  }

  /** A handler of an open effect of a host actor runs to its end. */
  attemptHost(host: FakeHost): void {
    const actor = this.#actorOf(host);
    for (const { name } of actor.effects) {
      if (name === 'host.lost') {
        for (const { ref: to } of this.#livingOn(host))
          this.mail.push({ to, event: { type: 'HOST_LOST', host_id: host.id } });
        actor.result(name, { type: 'LOST_TOLD' });
      } else if (name === 'host.inventory' && host.reachable) {
        for (const to of this.#livingOn(host)) this.#tellWhatIsTrue(host, to);
        actor.result(name, { type: 'INVENTORIED', orphans: [], ended: [] });
      } else if (name === 'host.evict') {
        host.ended = true;
        const event = { type: 'HOST_DELETED', host_id: host.id } as const;
        for (const { ref: to } of this.#livingOn(host)) this.mail.push({ to, event });
        for (const { ref: to, context } of this.snapshots.values()) {
          if (context.host_id === host.id) this.mail.push({ to, event });
        }
        host.snapshots.clear();
        for (const { context } of [...host.vms.values()]) {
          host.destroy(context.sandbox_id, context.incarnation, `terminate:${context.sandbox_id}`);
        }
        actor.result(name, { type: 'EVICTED' });
      }
      return;
    }
  }

  deleteHost(host: FakeHost): void {
    this.#messages += 1;
    this.#actorOf(host).send({ type: 'DELETE', force: true }, { id: `delete:${this.#messages}` });
  }

  /** Timers of sandboxes; each fires when the test says so, which may be late but is never early. */
  sandboxTimers(): (() => void)[] {
    return this.sandboxes.flatMap((sandbox) =>
      sandbox.timers.map((timer) => () => {
        sandbox.fireTimer(timer);
        this.#committed(sandbox);
      }),
    );
  }

  /** Timers of hosts and of their VMs. */
  hostTimers(): (() => void)[] {
    const ofHosts = [...this.hostActors.values()].flatMap((actor) =>
      // Credentials are not what this is about, and firing their timers would put the clock months ahead.
      actor.timers
        .filter(({ delay }) => !['RENEWAL_DUE', 'EXPIRY'].includes(delay))
        .map((timer) => () => void actor.fireTimer(timer)),
    );
    const ofVms = this.hosts.flatMap((host) =>
      [...host.vms.values()].flatMap((vm) => vm.timers.map((timer) => () => host.fire(vm, timer))),
    );
    return [...ofHosts, ...ofVms];
  }

  /** kill -9 of the control plane: calls are forgotten, actors come back as committed. */
  restart(): void {
    this.calls = [];
    for (const actor of this.actors()) actor.restart();
  }

  /** Nothing fails any more; everything that was begun comes to its end, or to where so many rounds lead. */
  calm(rounds = MOST_ROUNDS): void {
    for (const host of this.hosts) host.reachable = true;
    for (let round = 1; round <= rounds && !(round % 5 === 1 && round > 5 && this.#isQuiet()); round += 1) {
      for (const host of this.hosts) {
        this.heartbeat(host);
        for (let i = 0; i < 20; i += 1) for (const vm of host.working()) host.work(vm, 'done');
        for (const vm of host.vms.values())
          for (const timer of vm.timers) if (timer.dueAt <= this.clock.now) host.fire(vm, timer);
        while (host.watched < host.reports.length) this.watch(host);
        this.attemptHost(host);
        if (round % 5 === 0) this.#sweep(host);
      }
      while (this.mail.length > 0) this.deliver(0);
      for (const sandbox of this.sandboxes) this.attempt(sandbox, round);
      for (const snapshot of this.snapshots.values()) this.attemptSnapshot(snapshot);
      for (const call of [...this.calls]) this.carry(call);
      checkFleet(this);
    }
  }

  /** Of all kinds but `vm`, whose owners are the hosts. */
  actors() {
    return [...this.sandboxes, ...this.snapshots.values(), ...this.hostActors.values()];
  }

  #newSandboxId(): string {
    this.#made += 1;
    return `sb${String(this.#made).padStart(20, '0')}`;
  }

  #create(id: string, event: DomainEvent, messageId: string): void {
    const sandbox = new ActorInMemory(sandboxDefinition, id, this.clock);
    this.sandboxes.push(sandbox);
    sandbox.send(event, { id: messageId });
    this.#committed(sandbox);
  }

  /** What a commit has put into the outbox is on its way. */
  #post({ outbox, ref }: Sandbox | Snapshot): void {
    for (const { id, to, event } of outbox.splice(0)) this.mail.push({ to, event, id, from: ref.id });
  }

  #deliver({ to, event, id }: Letter): void {
    const options = id === undefined ? {} : { id };
    if (to.kind === 'sandbox') {
      const sandbox = this.sandboxes.find(({ ref }) => ref.id === to.id);
      if (sandbox) this.#send(sandbox, event as SandboxEvent, options);
      else if (event.type === 'CREATE') this.#create(to.id, event, id ?? `create:${to.id}`);
      return;
    }
    const snapshot = this.snapshots.get(to.id) ?? new ActorInMemory(snapshotDefinition, to.id, this.clock);
    this.snapshots.set(to.id, snapshot);
    snapshot.send(event, options);
    this.#post(snapshot);
  }

  #isQuiet(): boolean {
    const calls = this.calls.some(({ actor, key }) => actor.effects.some((effect) => actor.keyOf(effect) === key));
    const open = [...this.sandboxes, ...this.snapshots.values()].some(({ effects }) => effects.length > 0);
    const work = open || this.sandboxes.some(({ view }) => status(view) === 'missing');
    return !calls && !work && this.mail.length === 0 && this.hosts.every((host) => host.working().length === 0);
  }

  #addHost(id: string): void {
    this.hosts.push(new FakeHost(id, this.clock));
    const actor = new ActorInMemory(hostDefinition, id, this.clock);
    this.hostActors.set(id, actor);
    actor.send({ type: 'CREATE', team_id: null, name: id, tags: [], created_by: 'usr-1' });
    const year = 31_536_000_000;
    const credentials = {
      renew_at: this.clock.now + year,
      expires_at: this.clock.now + 2 * year,
      cert_fingerprint: null,
      cert_expires_at: null,
    };
    actor.send({ type: 'REGISTERED', address: id, specs: hostSpecs, credentials });
  }

  #actorOf(host: FakeHost): Host {
    const actor = this.hostActors.get(host.id);
    assert(actor);
    return actor;
  }

  #livingOn(host: FakeHost): Sandbox[] {
    return this.sandboxes.filter(({ view, context }) => context.host_id === host.id && !view.done);
  }

  /** `host.inventory` tells only those whose actor thinks otherwise, or does not know. */
  #tellWhatIsTrue(host: FakeHost, to: Sandbox): void {
    const facts = host.facts(to.ref.id);
    const { incarnation, away } = to.context;
    if (!isNewsTo({ status: status(to.view), incarnation, unreachable: away }, facts)) return;
    this.mail.push({ to: to.ref, event: { type: 'HOST_BACK', host_id: host.id, ...facts } });
  }

  #sweep(host: FakeHost): void {
    const actor = this.#actorOf(host);
    const due = actor.timers.find(({ delay }) => delay === 'SWEEP_EVERY');
    if (due) actor.fireTimer(due);
    this.heartbeat(host);
    this.attemptHost(host);
  }

  #place(sandbox: Sandbox, key: string): void {
    const { excluded_hosts, incarnation, spec, host_id } = sandbox.context;
    const only = status(sandbox.view) === 'resuming' ? host_id : (spec.snapshot?.host_id ?? null);
    const used = (id: string) => [...this.reservations.values()].filter(({ host }) => host === id).length;
    const host = this.hosts.find(
      (one) =>
        hostStatus(this.#actorOf(one).view) === 'online' &&
        (only === null || one.id === only) &&
        !excluded_hosts.includes(one.id) &&
        used(one.id) < ROOM,
    );
    if (!host) {
      const none = { type: 'PLACE_FAILED', code: 'no_hosts_available', message: 'no host has room' } as const;
      this.#send(sandbox, none, { effectKey: key });
      return;
    }
    // One transaction: reservation and transition.
    const event = { type: 'RESERVED', host_id: host.id, store_id: host.storeId } as const;
    if (sandbox.send(event, { effectKey: key }) !== 'transition') return;
    this.reservations.set(sandbox.ref.id, { host: host.id, incarnation });
    this.#committed(sandbox);
  }

  #send(to: Sandbox, event: SandboxEvent, options: { id?: string; effectKey?: string } = {}): void {
    const before = to.context.reason?.code;
    to.send(event as DomainEvent, options);
    this.#committed(to);
    if (to.context.reason?.code !== before) checkLoss(this, to);
  }

  /** The projection `reservations` of the commit. */
  #committed(sandbox: Sandbox): void {
    if (!holdsVm(sandbox.view)) this.reservations.delete(sandbox.ref.id);
    this.#post(sandbox);
  }
}
