import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ConnectError } from '@connectrpc/connect';
import type { JournalEntry } from '@wrenn/core';
import { type VmReport, VmStatus } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { expect } from 'vitest';
import { AgentProcess, AgentRoot, codeOf, command, type SlotRange, SPEC } from './agent-process.ts';
import { GuestShell } from './guest-memory.ts';
import { HeldFile } from './held-file.ts';
import { untilEntry } from './journal.ts';
import { holdings } from './leaks.ts';

export interface Outcome {
  readonly status: VmStatus | undefined;
  readonly code: string | null;
  readonly message: string;
}

/** A guest that holds memory, and how far it had come. */
export interface Holder {
  readonly guest: GuestShell;
  readonly vmm: number;
  readonly count: number;
  readonly key: ReturnType<typeof command>;
}

export interface Held {
  readonly outcome: Promise<Outcome>;
  letGo(): Promise<void>;
}

/** Where the agent reads a file, and can be kept waiting for it. */
const PLACES = {
  /** The guest is frozen. */
  saving: { call: 'pause', file: 'lineage.json' },
  /** The VM is stopped, all is saved; read is whether it was published before. */
  publishing: { call: 'pause', file: 'manifest.json' },
  /** Nothing has been done. */
  forking: { call: 'fork', file: 'lineage.json' },
} as const;

/** An agent and its root folder, where freezes are held at a place to see what a failure there makes of them. */
export class FreezingHost {
  readonly root: AgentRoot;
  agent: AgentProcess;

  constructor(root: AgentRoot, agent: AgentProcess) {
    this.root = root;
    this.agent = agent;
  }

  static async start(slots: SlotRange): Promise<FreezingHost> {
    const root = await AgentRoot.make(slots);
    return new FreezingHost(root, await AgentProcess.start(root));
  }

  /** After its agent was killed. */
  async restart(): Promise<void> {
    this.agent = await AgentProcess.start(this.root);
  }

  async newHolder(): Promise<Holder> {
    const earlier = new Set((await holdings(this.root)).vmms);
    const guest = await GuestShell.create(() => this.agent);
    await guest.hold();
    const vmm = (await holdings(this.root)).vmms.find((pid) => !earlier.has(pid)) ?? expect.unreachable();
    return { guest, vmm, count: await guest.holds(), key: command(guest.sandboxId) };
  }

  folderOf({ key }: Holder): string {
    return join(this.root.folder, 'sandboxes', `${key.sandboxId}.${key.incarnation}`);
  }

  pause({ key }: Holder): Promise<Outcome> {
    return outcomeOf(this.agent.client.pauseSandbox({ command: key }).then(({ report }) => report?.status));
  }

  fork({ key }: Holder): Promise<Outcome> {
    const call = { command: key, snapshotId: snapshotOf(key), children: 1 };
    return outcomeOf(this.agent.client.forkSandbox(call).then(() => undefined));
  }

  /** Begins it, and holds it at that place. */
  async holdAt(holder: Holder, place: keyof typeof PLACES): Promise<Held> {
    const { call, file } = PLACES[place];
    const held = await HeldFile.hold(join(this.folderOf(holder), file));
    const outcome = this[call](holder);
    await held.reached(outcome);
    return { outcome, letGo: () => held.letGo() };
  }

  /** The entry that tells of this, kept or to come. */
  until({ key }: Holder, isIt: (entry: JournalEntry) => boolean): Promise<JournalEntry> {
    const id = `${key.sandboxId}.${key.incarnation}`;
    return untilEntry(this.agent, (entry) => entry.id === id && isIt(entry));
  }

  async reportOf({ key }: Holder): Promise<VmReport | undefined> {
    return (await this.agent.client.inspectSandbox({ sandboxId: key.sandboxId })).report;
  }

  /** A pause that has failed: the guest has gone on since, and nothing is left of the attempt. */
  async runsOn(holder: Holder): Promise<void> {
    const { incarnation } = holder.key;
    expect(await this.reportOf(holder)).toMatchObject({ status: VmStatus.READY, incarnation });
    await holder.guest.holds(holder.count);
    expect(await readdir(this.folderOf(holder))).not.toContain('saving');
  }

  /** Paused: nothing but files is there. It is resumed as what it was, and destroyed without a trace. */
  async isPaused(holder: Holder): Promise<void> {
    expect((await this.reportOf(holder))?.status).toBe(VmStatus.PAUSED);
    expect((await holdings(this.root)).vmms).not.toContain(holder.vmm);
    const resumed = await this.resume(holder, holder.key.incarnation + 1);
    await this.destroy(resumed);
  }

  /** As the next incarnation, whose memory is that of this one. */
  async resume({ key, guest, count }: Holder, incarnation: number): Promise<Holder> {
    const resume = { command: command(key.sandboxId, incarnation), spec: SPEC, fromIncarnation: key.incarnation };
    const earlier = new Set((await holdings(this.root)).vmms);
    expect((await this.agent.client.resumeSandbox(resume)).report?.status).toBe(VmStatus.READY);
    const vmm = (await holdings(this.root)).vmms.find((pid) => !earlier.has(pid)) ?? expect.unreachable();
    return { guest, vmm, count: await guest.holds(count), key: resume.command };
  }

  async destroy(holder: Holder): Promise<void> {
    const { sandboxId, incarnation } = holder.key;
    await this.agent.client.destroySandbox({ command: command(sandboxId, incarnation) });
    await this.isGone(holder);
  }

  /** Of its VM nothing is left, nor of a snapshot that was being made of it. */
  async isGone(holder: Holder): Promise<void> {
    expect((await this.reportOf(holder))?.status).toBe(VmStatus.GONE);
    const { vmms, folders } = await holdings(this.root);
    expect(vmms).not.toContain(holder.vmm);
    expect(folders.filter((name) => name.startsWith(holder.key.sandboxId))).toEqual([]);
    await this.madeNothing(holder);
  }

  async madeNothing({ key }: Holder): Promise<void> {
    const names = await readdir(join(this.root.folder, 'snapshots'));
    expect(names.filter((name) => name.startsWith(snapshotOf(key)))).toEqual([]);
  }
}

const snapshotOf = ({ sandboxId }: Holder['key']): string => `of-${sandboxId}`;

const outcomeOf = (call: Promise<VmStatus | undefined>): Promise<Outcome> =>
  call.then(
    (status) => ({ status, code: null, message: '' }),
    (error: ConnectError) => ({ status: undefined, code: codeOf(error), message: error.rawMessage }),
  );

/** As an outcome. */
export const PAUSED = { status: VmStatus.PAUSED, code: null };
export const TOO_LATE = { status: undefined, message: 'it took too long' };
