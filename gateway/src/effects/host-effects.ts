import type {
  Evicted,
  EvictInput,
  EvictRefused,
  HostBack,
  HostDeleted,
  HostLost,
  HostLostInput,
  Inventoried,
  InventoryInput,
  LostTold,
  Orphan,
  SandboxStatus,
} from '@wrenn/actors';
import { isNewsTo } from '@wrenn/actors';
import { type DomainEvent, type EffectHandler, type EffectJob, partitionOf, query, queryOne } from '@wrenn/core';
import type { ListSandboxesResponse, VmReport } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import type { Pool } from 'pg';
import { z } from 'zod';
import { fromAgent } from '../agents/agent-error.ts';
import { vmFacts } from '../agents/vm-report.ts';
import { command } from './command.ts';
import type { EffectContext } from './context.ts';

/** Messages under way at once to the sandboxes of one host: they are folded into few commits, and bounded in memory. */
const TOLD_AT_ONCE = 64;
const LIST_TIMEOUT_MS = 10_000;
const ORPHAN_BUDGET_MS = 15_000;

/** Sandboxes that may hold something on the host. `stopped` and `error` ones that were released hold nothing. */
const livingRow = z.object({
  id: z.string(),
  incarnation: z.number(),
  unreachable: z.boolean(),
  status: z.string().transform((status) => status as SandboxStatus),
});
function livingOn(sql: Pool, hostId: string) {
  return query(
    sql,
    livingRow,
    `select id, incarnation, unreachable, status from sandboxes where host_id = $1 and status <> 'stopped' order by id`,
    [hostId],
  );
}

/** Templates that lie on the host. */
function snapshotsOn(sql: Pool, hostId: string) {
  return query(sql, z.object({ id: z.string() }), `select id from templates where host_id = $1 and state = 'ready'`, [
    hostId,
  ]);
}

/** `host.lost`: tells every sandbox of the host. */
export function hostLost(context: EffectContext): EffectHandler {
  return async (job, signal) => {
    const { host_id } = job.input as HostLostInput;
    const sandboxes = await livingOn(context.sql, host_id);
    const event: HostLost = { type: 'HOST_LOST', host_id };
    await tellAll(
      context,
      job,
      signal,
      sandboxes.map(({ id }) => [id, event]),
    );
    const told: LostTold = { type: 'LOST_TOLD' };
    return told;
  };
}

/** `host.inventory`: asks the host for all it has, tells each of its sandboxes what is true, names what nobody owns, and ends it in the end. */
export function inventory(context: EffectContext): EffectHandler {
  return async (job, signal) => {
    const { host_id, orphans: before } = job.input as InventoryInput;
    // The rows first: a sandbox that is placed between the two look-ups is in neither, instead of seeming to be gone.
    const sandboxes = await livingOn(context.sql, host_id);
    const list = await listSandboxes(context, host_id, signal);
    const reports = new Map<string, VmReport>();
    for (const report of list.reports) {
      const other = reports.get(report.sandboxId);
      if (!other || tellsMore(report, other)) reports.set(report.sandboxId, report);
    }
    const events = sandboxes.flatMap((sandbox): [string, DomainEvent][] => {
      const event = hostBack(host_id, list, reports.get(sandbox.id));
      return isNewsTo(sandbox, event) ? [[sandbox.id, event]] : [];
    });
    await tellAll(context, job, signal, events);
    const orphans = await orphansAmong(context.sql, host_id, reports);
    const due = orphans.filter((orphan) => isDue(orphan, before, context.orphanGraceMs));
    const ended = await endOrphans(context, job, signal, due);
    const inventoried: Inventoried = {
      type: 'INVENTORIED',
      orphans: orphans.filter((one) => !ended.includes(one)),
      ended,
    };
    return inventoried;
  };
}

/** What is there says more than a grave of a later start that failed: the snapshot that it was made from is whole. */
function tellsMore(report: VmReport, other: VmReport): boolean {
  const [isThere, wasThere] = [report, other].map((one) => vmFacts(one).status !== 'gone');
  return isThere === wasThere ? report.incarnation > other.incarnation : isThere === true;
}

async function listSandboxes({ agents }: EffectContext, hostId: string, signal: AbortSignal) {
  const agent = await agents.connect(hostId);
  try {
    return await agent.rpc.listSandboxes({}, { signal, timeoutMs: LIST_TIMEOUT_MS });
  } catch (error) {
    throw fromAgent(error);
  }
}

function hostBack(hostId: string, list: ListSandboxesResponse, report: VmReport | undefined): HostBack {
  const facts = report
    ? vmFacts(report)
    : { status: 'gone' as const, incarnation: 0, store_id: list.storeId, cursor: Number(list.cursor) };
  return { type: 'HOST_BACK', host_id: hostId, ...facts };
}

/**
 * What is there and belongs to nobody (H4). A VM is owned by the reservation of its sandbox (I6); what is paused, by a
 * sandbox that is not stopped. Files of a sandbox that was never heard of are left alone: the database may be older than they.
 */
async function orphansAmong(sql: Pool, hostId: string, reports: ReadonlyMap<string, VmReport>): Promise<Orphan[]> {
  const held = [...reports.values()].filter((report) => !['gone', 'releasing'].includes(vmFacts(report).status));
  if (held.length === 0) return [];
  const paused = held.map((report) => vmFacts(report).status === 'paused');
  return query(
    sql,
    z.object({ sandbox_id: z.string(), incarnation: z.number() }),
    `select t.id as sandbox_id, t.incarnation from unnest($1::text[], $2::int[], $3::bool[]) as t (id, incarnation, paused)
      where case when t.paused
        then exists (select 1 from sandboxes s where s.id = t.id and (s.status = 'stopped' or s.host_id <> $4))
        else not exists (select 1 from reservations r where r.sandbox_id = t.id and r.host_id = $4)
      end`,
    [held.map(({ sandboxId }) => sandboxId), held.map(({ incarnation }) => incarnation), paused, hostId],
  );
}

function isDue(orphan: Orphan, before: InventoryInput['orphans'], graceMs: number): boolean {
  const known = before.find(
    ({ sandbox_id, incarnation }) => sandbox_id === orphan.sandbox_id && incarnation === orphan.incarnation,
  );
  return known !== undefined && known.since + graceMs <= Date.now();
}

/** Those that ended; the next inventory tries the others again. */
async function endOrphans(
  { sql, agents, log }: EffectContext,
  job: EffectJob,
  signal: AbortSignal,
  orphans: readonly Orphan[],
): Promise<Orphan[]> {
  const { host_id } = job.input as InventoryInput;
  const ended: Orphan[] = [];
  for (const orphan of orphans) {
    const fields = { host_id, sandbox_id: orphan.sandbox_id, incarnation: orphan.incarnation };
    try {
      const agent = await agents.connect(host_id);
      const key = `${job.key}:${orphan.sandbox_id}.${orphan.incarnation}`;
      const epoch = await ownerEpoch(sql, orphan.sandbox_id);
      await agent.rpc.destroySandbox(
        { command: command({ key, epoch }, fields, ORPHAN_BUDGET_MS) },
        { signal, timeoutMs: ORPHAN_BUDGET_MS },
      );
      log.warn(fields, 'ended a VM that no sandbox owns');
      ended.push(orphan);
    } catch (error) {
      signal.throwIfAborted();
      log.warn({ err: error, ...fields }, 'a VM that no sandbox owns could not be ended');
    }
  }
  return ended;
}

/** The epoch that the owner of a sandbox's actor commands with, so that this is neither stale nor makes him so. */
async function ownerEpoch(sql: Pool, sandboxId: string): Promise<number> {
  const partition = partitionOf({ kind: 'sandbox', id: sandboxId });
  const row = await queryOne(
    sql,
    z.object({ epoch: z.coerce.number() }),
    'select epoch from partitions where id = $1',
    [partition],
  );
  return row?.epoch ?? 0;
}

/** `host.evict` (H6): refused while something is on the host, unless forced; forced, its sandboxes end with it. */
export function evict(context: EffectContext): EffectHandler {
  return async (job, signal) => {
    const { host_id, force } = job.input as EvictInput;
    const sandboxes = (await livingOn(context.sql, host_id)).filter(({ status }) => status !== 'error');
    if (!force && sandboxes.length > 0) {
      const refused: EvictRefused = { type: 'EVICT_REFUSED', sandbox_ids: sandboxes.map(({ id }) => id) };
      return refused;
    }
    if (sandboxes.length > 0) await terminate(context, host_id, signal);
    await revoke(context.sql, host_id);
    context.agents.evict(host_id);
    const event: HostDeleted = { type: 'HOST_DELETED', host_id };
    const all = await livingOn(context.sql, host_id);
    await tellAll(
      context,
      job,
      signal,
      all.map(({ id }) => [id, event]),
    );
    const snapshots = await snapshotsOn(context.sql, host_id);
    await tellAll(
      context,
      job,
      signal,
      snapshots.map(({ id }) => [id, event]),
      'snapshot',
    );
    const evicted: Evicted = { type: 'EVICTED' };
    return evicted;
  };
}

/** Its token, its refresh tokens and what proves us to it are worthless from now on (H2). */
async function revoke(sql: Pool, hostId: string): Promise<void> {
  await sql.query(
    `with credentials as (
       update host_credentials set revoked_at = now() where host_id = $1 and revoked_at is null)
     update host_refresh_tokens set revoked_at = now() where host_id = $1 and revoked_at is null`,
    [hostId],
  );
}

/**
 * A host that is away cannot be asked. Its VMs go on there until someone ends its agent: revoked credentials pause them
 * (AG5), they do not end them.
 */
async function terminate({ agents, log }: EffectContext, hostId: string, signal: AbortSignal): Promise<void> {
  try {
    const agent = await agents.connect(hostId);
    await agent.rpc.terminate({}, { signal, timeoutMs: LIST_TIMEOUT_MS });
  } catch (error) {
    signal.throwIfAborted();
    log.warn({ err: error, host_id: hostId }, 'the host could not be told to end its sandboxes');
  }
}

async function tellAll(
  { runtime }: EffectContext,
  job: EffectJob,
  signal: AbortSignal,
  messages: readonly (readonly [string, DomainEvent])[],
  kind: 'sandbox' | 'snapshot' = 'sandbox',
): Promise<void> {
  for (let start = 0; start < messages.length; start += TOLD_AT_ONCE) {
    const some = messages.slice(start, start + TOLD_AT_ONCE);
    await Promise.all(
      some.map(([id, event]) =>
        runtime().tell({ kind, id }, event, {
          messageId: `${job.key}:${job.attempt}:${id}`,
          cause: { type: 'host', id: job.actor.id },
          signal,
        }),
      ),
    );
  }
}
