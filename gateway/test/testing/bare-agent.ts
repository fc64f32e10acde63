import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { Code, ConnectError, type HandlerContext } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import { frontListen, routeDelete, routeSet } from '@wrenn/addon';
import type { JournalEntry } from '@wrenn/core';
import {
  type Command,
  type CreateSandboxRequest,
  type CreateSnapshotRequest,
  type DeleteSnapshotRequest,
  type DestroySandboxRequest,
  type ForkSandboxRequest,
  HeartbeatSchema,
  HostAgentService,
  type InspectSandboxRequest,
  type PauseSandboxRequest,
  type PingSandboxRequest,
  type ResumeSandboxRequest,
  type SetEgressRequest,
  type SnapshotInfo,
  SnapshotInfoSchema,
  type VmReport,
  VmReportSchema,
  VmStatus,
  type WatchSandboxesRequest,
  type WatchSandboxesResponse,
  WatchSandboxesResponseSchema,
} from '@wrenn/proto/hostagent/v1/hostagent_pb';

type Facts = Omit<MessageInitShape<typeof VmReportSchema>, '$typeName'>;

/** How the next start goes. Default: ready at once. */
export type StartOutcome = 'ready' | 'no_slots' | 'never' | { code: string; message: string; retryable: boolean };

/**
 * An agent without VMs: the real front over a real Connect service, whose sandboxes are entries of a map and whose guests
 * are all at one address. It stands in for a host where a test is about the control plane.
 */
export class BareAgent {
  readonly secret = 'secret of a bare agent';
  readonly storeId = `store-${Math.random().toString(36).slice(2)}`;
  readonly vms = new Map<string, VmReport>();
  /** Commands as they came, with their idempotency keys. */
  readonly commands: { readonly name: string; readonly command: Command | undefined }[] = [];
  nextStart: StartOutcome = 'ready';
  /** How the next pause or snapshot goes; `held` waits for `letGo`. Default: done at once. */
  nextSave: 'done' | 'fails' | 'held' = 'done';
  /** What resumes start from, by sandbox. */
  readonly paused = new Map<string, VmReport>();
  /** Snapshots that it has, as CreateSnapshot and ForkSandbox made them. */
  readonly snapshots = new Map<string, SnapshotInfo>();
  /** Milliseconds since the last activity, as idle checks find it. */
  idleMs = Number.POSITIVE_INFINITY;
  address = '';
  readonly #guest: { ip: string; accessToken: string };
  readonly #folder = mkdtempSync(join(tmpdir(), 'wrenn-bare-agent-'));
  readonly #reports: WatchSandboxesResponse[] = [];
  readonly #teams = new Map<string, string>();
  readonly #entries = new Map<string, JournalEntry[]>();
  readonly #watchers = new Set<() => void>();
  /** Policies that it was told to put in force (NET4), by sandbox, the last one last. */
  readonly egress: { readonly sandboxId: string; readonly allow: string[]; readonly deny: string[] }[] = [];
  /** Deletions of snapshots and changes of egress policies are not answered. */
  away = false;
  /** Releases what `held` holds. */
  letGo: () => void = () => undefined;
  #service: Server | undefined;
  #front: { close(): void } | undefined;

  private constructor(guest: { ip: string; accessToken: string }) {
    this.#guest = guest;
  }

  static async start(guest = { ip: '127.0.0.1', accessToken: 'none' }): Promise<BareAgent> {
    const agent = new BareAgent(guest);
    await agent.#listen();
    return agent;
  }

  /** The VM of a sandbox ends by itself. */
  crash(sandboxId: string): void {
    const vm = this.vms.get(sandboxId);
    if (!vm) throw new Error(`no ${sandboxId}`);
    this.#change(sandboxId, vm.incarnation, VmStatus.CRASHED, {
      code: 'vmm_exited',
      message: 'the VMM was killed by a signal',
      consoleTail: 'Kernel panic',
    });
  }

  /** A VM, or what is left of one, that the control plane never asked for. */
  stray(sandboxId: string, status: VmStatus): void {
    this.vms.set(sandboxId, this.#report(sandboxId, 1, status));
  }

  /** The VM is ending although the control plane does not know yet. */
  shut(sandboxId: string): void {
    const vm = this.vms.get(sandboxId);
    if (vm) this.vms.set(sandboxId, { ...vm, status: VmStatus.RELEASING });
    routeDelete(sandboxId);
  }

  async close(): Promise<void> {
    this.#front?.close();
    for (const id of this.vms.keys()) routeDelete(id);
    for (const wake of this.#watchers) wake();
    this.#service?.closeAllConnections();
    await new Promise((resolve) => this.#service?.close(resolve));
    rmSync(this.#folder, { recursive: true });
  }

  async #listen(): Promise<void> {
    const socket = join(this.#folder, 'agent.sock');
    const service = createServer(
      connectNodeAdapter({
        routes: (router) => router.service(HostAgentService, this.#implementation()),
      }),
    );
    await new Promise<void>((resolve) => service.listen(socket, resolve));
    this.#service = service;
    const front = await frontListen({
      address: '127.0.0.1:0',
      upstream: socket,
      identity: { header: 'wrenn-authorization', value: `Bearer ${this.secret}` },
    });
    this.#front = front;
    this.address = `127.0.0.1:${front.port}`;
  }

  #implementation() {
    const self = this;
    return {
      async createSandbox({ command, spec, snapshotId }: CreateSandboxRequest, { signal }: HandlerContext) {
        self.commands.push({ name: snapshotId === '' ? 'create' : `create from ${snapshotId}`, command });
        if (snapshotId !== '' && !self.snapshots.has(snapshotId))
          throw refused(Code.NotFound, 'snapshot_not_found', {});
        self.#teams.set(command?.sandboxId ?? '', spec?.teamId ?? '');
        return { report: await self.#create(command as Command, signal) };
      },
      async destroySandbox({ command, ifIdleMs }: DestroySandboxRequest) {
        self.commands.push({ name: ifIdleMs === undefined ? 'destroy' : 'destroy if idle', command });
        const { sandboxId, incarnation, key } = command as Command;
        if (ifIdleMs !== undefined && self.idleMs < Number(ifIdleMs)) {
          throw refused(Code.FailedPrecondition, 'active', { 'wrenn-idle-ms': String(self.idleMs) });
        }
        return { report: self.#change(sandboxId, incarnation, VmStatus.GONE, { key }) };
      },
      async pauseSandbox({ command, ifIdleMs }: PauseSandboxRequest) {
        self.commands.push({ name: ifIdleMs === undefined ? 'pause' : 'pause if idle', command });
        const { sandboxId, incarnation, key } = command as Command;
        if (ifIdleMs !== undefined && self.idleMs < Number(ifIdleMs)) {
          throw refused(Code.FailedPrecondition, 'active', { 'wrenn-idle-ms': String(self.idleMs) });
        }
        await self.#save('pause_failed');
        if (self.vms.get(sandboxId)?.incarnation !== incarnation) throw refused(Code.NotFound, 'not_found', {});
        const snapshot = self.#snapshot('');
        return { report: self.#change(sandboxId, incarnation, VmStatus.PAUSED, { key, snapshot }) };
      },
      async resumeSandbox({ command, fromIncarnation }: ResumeSandboxRequest, { signal }: HandlerContext) {
        self.commands.push({ name: 'resume', command });
        const { sandboxId } = command as Command;
        const paused = self.vms.get(sandboxId);
        if (paused) self.paused.set(sandboxId, paused);
        if (paused?.incarnation !== fromIncarnation) throw refused(Code.NotFound, 'snapshot_not_found', {});
        const report = await self.#create(command as Command, signal);
        if (report.status === VmStatus.GONE) self.vms.set(sandboxId, paused);
        return { report };
      },
      async createSnapshot({ command, snapshotId }: CreateSnapshotRequest) {
        self.commands.push({ name: 'snapshot', command });
        await self.#save('snapshot_failed');
        return { snapshot: self.#snapshot(snapshotId) };
      },
      async forkSandbox({ command, snapshotId, children }: ForkSandboxRequest) {
        self.commands.push({ name: `fork into ${children}`, command });
        await self.#save('snapshot_failed');
        return { snapshot: self.#snapshot(snapshotId) };
      },
      async deleteSnapshot({ snapshotId }: DeleteSnapshotRequest) {
        if (self.away) throw new ConnectError('away', Code.Unavailable);
        self.commands.push({ name: `delete ${snapshotId}`, command: undefined });
        self.snapshots.delete(snapshotId);
        return {};
      },
      async pingSandbox({ sandboxId }: PingSandboxRequest) {
        self.commands.push({ name: `ping ${sandboxId}`, command: undefined });
        return { idleMs: 5n };
      },
      async setEgress({ sandboxId, incarnation, egress }: SetEgressRequest) {
        if (self.away) throw new ConnectError('away', Code.Unavailable);
        if (self.vms.get(sandboxId)?.incarnation !== incarnation) throw refused(Code.NotFound, 'not_running', {});
        self.egress.push({ sandboxId, allow: egress?.allow ?? [], deny: egress?.deny ?? [] });
        return {};
      },
      async inspectSandbox({ sandboxId }: InspectSandboxRequest) {
        return { report: self.vms.get(sandboxId) ?? self.#report(sandboxId, 0, VmStatus.GONE) };
      },
      async listSandboxes() {
        return { storeId: self.storeId, cursor: BigInt(self.#reports.length), reports: [...self.vms.values()] };
      },
      async *watchSandboxes({ cursor }: WatchSandboxesRequest, { signal }: HandlerContext) {
        let next = Number(cursor);
        yield create(WatchSandboxesResponseSchema, {
          storeId: self.storeId,
          cursor,
          item: { case: 'heartbeat', value: create(HeartbeatSchema, { caughtUp: true }) },
        });
        while (!signal.aborted) {
          const report = self.#reports[next];
          if (report) {
            next += 1;
            yield report;
          } else await self.#changed(signal);
        }
      },
      async terminate() {
        self.commands.push({ name: 'terminate', command: undefined });
        return { destroyed: self.vms.size };
      },
    };
  }

  async #save(code: string): Promise<void> {
    const outcome = this.nextSave;
    this.nextSave = 'done';
    if (outcome === 'fails') throw refused(Code.Internal, code, {});
    if (outcome === 'done') return;
    await new Promise<void>((resolve) => {
      this.letGo = resolve;
    });
  }

  #snapshot(snapshotId: string): SnapshotInfo {
    const sizes = { memoryBytes: 12_000_000n, diskBytes: 4_000_000n, generations: 1 };
    const info = create(SnapshotInfoSchema, { snapshotId, ...sizes, needs: { vmm: 'none' } });
    if (snapshotId !== '') this.snapshots.set(snapshotId, info);
    return info;
  }

  async #create({ sandboxId, incarnation, key }: Command, signal: AbortSignal): Promise<VmReport> {
    const outcome = this.nextStart;
    this.nextStart = 'ready';
    if (outcome === 'never') {
      this.#change(sandboxId, incarnation, VmStatus.STARTING, {});
      return new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(new ConnectError('cut', Code.Canceled)));
      });
    }
    if (outcome === 'no_slots') throw refused(Code.ResourceExhausted, 'no_slots_available', {}, true);
    if (outcome !== 'ready') return this.#change(sandboxId, incarnation, VmStatus.GONE, { key, ...outcome });
    return this.#change(sandboxId, incarnation, VmStatus.READY, {
      key,
      hostIp: '10.11.0.1',
      guestIp: '169.254.0.21',
      timingsMs: { boot: 1 },
    });
  }

  #change(sandboxId: string, incarnation: number, status: VmStatus, more: Facts): VmReport {
    const report = this.#report(sandboxId, incarnation, status, more);
    if (status === VmStatus.GONE) this.vms.delete(sandboxId);
    else this.vms.set(sandboxId, report);
    if (status === VmStatus.READY) {
      routeSet({
        sandboxId,
        incarnation,
        guestIp: this.#guest.ip,
        accessToken: this.#guest.accessToken,
        state: 'ready',
      });
    } else routeDelete(sandboxId);
    const { storeId, cursor } = report;
    const journalJson = JSON.stringify(this.#entry(report));
    this.#reports.push(
      create(WatchSandboxesResponseSchema, {
        storeId,
        cursor: cursor - 1n,
        item: { case: 'journalJson', value: journalJson },
      }),
    );
    this.#reports.push(
      create(WatchSandboxesResponseSchema, { storeId, cursor, item: { case: 'report', value: report } }),
    );
    for (const wake of this.#watchers) wake();
    return report;
  }

  /** What the journal of a vm actor says of the change. */
  #entry({ sandboxId, incarnation, status, cursor, key }: VmReport): JournalEntry {
    const id = `${sandboxId}.${incarnation}`;
    const path = VmStatus[status].toLowerCase();
    const earlier = this.#entries.get(id) ?? [];
    const last = earlier.at(-1);
    const entry: JournalEntry = {
      cursor: String(cursor),
      kind: 'vm',
      id,
      seq: earlier.length + 1,
      at: Date.now(),
      outcome: 'transition',
      event: { type: last ? 'CHANGED' : 'CREATE', key, spec: { envs: { A: 'secret' }, template: 'minimal' } },
      messageId: `${id}:${earlier.length}`,
      cause: { type: 'system' },
      from: last?.to ?? null,
      to: path,
      path,
      diff: last
        ? [{ op: 'replace', path: '/status', value: path }]
        : [{ op: 'replace', path: '', value: { sandbox_id: sandboxId, incarnation, status: path } }],
      machineVersion: 1,
      teamId: this.#teams.get(sandboxId) ?? null,
    };
    this.#entries.set(id, [...earlier, entry]);
    return entry;
  }

  #report(sandboxId: string, incarnation: number, status: VmStatus, more: Facts = {}): VmReport {
    const cursor = BigInt(this.#reports.length + 2); // after its journal entry
    return create(VmReportSchema, { storeId: this.storeId, cursor, sandboxId, incarnation, status, ...more });
  }

  #changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        this.#watchers.delete(wake);
        resolve();
      };
      this.#watchers.add(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }
}

function refused(code: Code, name: string, headers: Record<string, string>, retryable = false): ConnectError {
  return new ConnectError(name, code, {
    ...headers,
    'wrenn-error-code': name,
    ...(retryable && { 'wrenn-error-retryable': 'true' }),
  });
}
