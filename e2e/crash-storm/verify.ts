import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { hostDefinition, sandboxDefinition, vmDefinition } from '@wrenn/actors';
import { cgroupList, slotList } from '@wrenn/addon';
import type { ActorDefinition, JournalEntry } from '@wrenn/core';
import pg from 'pg';
import { JournalFile } from '../../core/src/journal/journal-file.ts';
import { type JournalRecord, JournalState } from '../../core/src/journal/journal-state.ts';
import { ACTOR_COLUMNS, ENTRY_COLUMNS, toActorRow, toJournalEntry } from '../../core/src/postgres/rows.ts';
import { PreparedMachine } from '../../core/src/step/prepared-machine.ts';
import { replay } from '../../core/src/step/replay.ts';
import { type ActorRow, actorRow } from '../../core/src/step/stored-actor.ts';
import type { Postgres } from '../../scripts/dev/postgres.ts';
import type { StackSettings } from '../../scripts/dev/settings.ts';
import type { Claim, Client, Move } from './client.ts';
import { liveVms } from './live-vms.ts';
import type { Program } from './program.ts';

export interface Verified {
  readonly settings: StackSettings;
  readonly postgres: Postgres;
  readonly client: Client;
  readonly claims: readonly Claim[];
  /** Sandboxes whose VMM was killed. */
  readonly killedVms: ReadonlySet<string>;
  readonly agent: Program;
}

/** Everything comes to rest by itself within this time: the slowest way is an inventory of the host, every 30 s. */
const REST_MS = 120_000;
const LOOK_MS = 250;
/** Slots that the agent keeps ready. */
const POOL = 2;
const AT_REST = ['running', 'stopped', 'error', 'paused'];

/** What is not as it should be after a storm; each line names its invariant (I1 to I8). Ends with nothing left. */
export async function verify(all: Verified): Promise<string[]> {
  const sql = new pg.Client({ connectionString: all.postgres.url('wrenn') });
  await sql.connect();
  try {
    const found = await untilNothing(() => unrest(sql, all.settings));
    found.push(...(await claimsKept(sql, all)), ...(await sameAnswers(all)), ...(await replayed(sql)));
    for (const id of await withStatus(sql, 'paused')) {
      const { status, body } = await all.client.call('POST', `/v1/sandboxes/${id}/resume`);
      if (status !== 200) found.push(`I2: paused ${id} does not resume: ${status} ${JSON.stringify(body)}`);
    }
    const ids = [...(await withStatus(sql, 'running')), ...(await withStatus(sql, 'paused'))];
    for (const id of ids) await all.client.call('DELETE', `/v1/sandboxes/${id}`);
    found.push(...(await untilNothing(() => unrest(sql, all.settings))));
    if ((await withStatus(sql, 'running')).length > 0) found.push('I3: sandboxes run that were destroyed');
    await all.agent.stop();
    found.push(...(await replayedOnHost(join(all.settings.wrennDir, 'journal'))));
    return found;
  } finally {
    await sql.end();
  }
}

/** What is found once it no longer changes for the better. */
async function untilNothing(look: () => Promise<string[]>): Promise<string[]> {
  const deadline = Date.now() + REST_MS;
  for (;;) {
    const found = await look();
    if (found.length === 0 || Date.now() > deadline) return found;
    await sleep(LOOK_MS);
  }
}

async function withStatus(sql: pg.Client, status: string): Promise<string[]> {
  const { rows } = await sql.query<{ id: string }>('select id from sandboxes where status = $1', [status]);
  return rows.map(({ id }) => id);
}

/** I1, I3 to I6, as database, kernel and disk have it. */
async function unrest(sql: pg.Client, settings: StackSettings): Promise<string[]> {
  const found: string[] = [];
  const say = (line: string, items: readonly unknown[]) =>
    items.length > 0 && found.push(`${line}: ${items.length} (${items.slice(0, 5).join(', ')})`);

  const { rows } = await sql.query<{ id: string; status: string; incarnation: number }>(
    'select id, status, incarnation from sandboxes',
  );
  const working = rows.filter(({ status }) => !AT_REST.includes(status));
  say(
    'I3: sandboxes that do not come to rest',
    working.map(({ id, status }) => `${id} ${status}`),
  );
  const stored = await sql.query<{ what: string }>(
    `select to_kind || ' ' || to_id || ' ' || message_id as what from actor_outbox
     union all select 'parked ' || kind || ' ' || id || ' ' || message_id from actor_parked`,
  );
  say(
    'I3: messages that nobody takes',
    stored.rows.map(({ what }) => what),
  );
  const effects = await sql.query<{ id: string; name: string; node: string; path: string; kind: string }>(
    'select e.id, e.kind, e.name, e.node, a.path from actor_effects e left join actors a on a.kind = e.kind and a.id = e.id',
  );
  const orphaned = effects.rows.filter(({ node, path }) => !isActive(node, path));
  say(
    'I4: open effects that their state does not expect',
    orphaned.map(({ id, name }) => `${id} ${name}`),
  );
  say(
    'I3: open effects of sandboxes at rest',
    effects.rows.filter(({ kind }) => kind === 'sandbox').map(({ id, name }) => `${id} ${name}`),
  );

  const ofStatus = (wanted: string) =>
    rows.filter(({ status }) => status === wanted).map(({ id, incarnation }) => `${id}.${incarnation}`);
  const expected = ofStatus('running');
  const vms = liveVms(settings.wrennDir);
  const difference = (line: string, is: Iterable<string>, wanted = expected) => {
    const present = new Set(is);
    say(
      `${line}, too many`,
      [...present].filter((id) => !wanted.includes(id)),
    );
    say(
      `${line}, missing`,
      wanted.filter((id) => !present.has(id)),
    );
  };
  difference('I1: VMMs', vms.keys());
  say(
    'I1: VMs with two VMMs',
    [...vms].filter(([, pids]) => pids.length > 1).map(([id]) => id),
  );
  const folders = readdirSync(join(settings.wrennDir, 'sandboxes'));
  const paused = ofStatus('paused');
  difference('I5: folders of sandboxes', folders, [...expected, ...paused]);
  say(
    'I2: paused sandboxes without a whole snapshot',
    paused.filter((id) => !existsSync(join(settings.wrennDir, 'sandboxes', id, 'manifest.json'))),
  );
  const [first = 1, last = first] = settings.slots.split('-').map(Number);
  const slots = await slotList({ first, last });
  if (slots.length !== expected.length + POOL) {
    found.push(`I5: ${slots.length} network slots for ${expected.length} sandboxes and ${POOL} in reserve`);
  }
  say(
    'I5: halves of network slots',
    slots.filter(({ namespace, veth }) => !namespace || !veth).map(({ index }) => index),
  );
  const groups = (await cgroupList()).filter((name) => {
    const slot = Number(/^slot-(\d+)$/.exec(name)?.[1]);
    return slot >= first && slot <= last;
  });
  if (groups.length !== expected.length)
    found.push(`I5: ${groups.length} control groups for ${expected.length} sandboxes`);
  say(
    'I5: mounts',
    readFileSync('/proc/mounts', 'utf8')
      .split('\n')
      .filter((line) => line.includes(settings.dir)),
  );
  const reserved = await sql.query<{ id: string }>(
    `select r.sandbox_id || '.' || r.incarnation as id from reservations r`,
  );
  difference(
    'I6: reservations',
    reserved.rows.map(({ id }) => id),
  );
  return found;
}

function isActive(node: string, path: string | null): boolean {
  return (path ?? '').split('+').some((leaf) => leaf === node || leaf.startsWith(`${node}.`));
}

/** An agent that got through to no control plane for 90 s is no host to place on: refused with that reason, nothing is lost. */
const NO_HOST = 'no_hosts_available';

function restOf(moves: readonly Move[]): string {
  return moves.findLast(({ status }) => status === 200)?.path === 'pause' ? 'paused' : 'running';
}

/** Each command that was answered stands: what was made is there once, and only what was destroyed or killed has ended. */
async function claimsKept(sql: pg.Client, { claims, killedVms }: Verified): Promise<string[]> {
  const found: string[] = [];
  const { rows } = await sql.query<{ id: string; status: string; claim: string; reason: { code?: string } | null }>(
    `select id, status, reason, labels ->> 'claim' as claim from sandboxes`,
  );
  const byId = new Map(rows.map((row) => [row.id, row]));
  if (new Set(rows.map(({ claim }) => claim)).size !== rows.length) found.push('doubled: two sandboxes of one command');
  for (const { key, status, id, code, destroy, destroyCode, moves } of claims) {
    const row = id === null ? undefined : byId.get(id);
    const killed = id !== null && killedVms.has(id);
    const moved = moves.map((move) => `${move.path} ${move.status} ${move.code ?? ''}`).join(', ');
    const facts = `${key} ${id}: ${status} ${code ?? ''}; ${moved}; destroy ${destroy} ${destroyCode ?? ''}; now ${row?.status} ${JSON.stringify(row?.reason ?? null)}`;
    if (status === null) found.push(`I8: never answered: ${facts}`);
    else if (!row) found.push(`lost: ${facts}`);
    else if (destroy === 'asked') found.push(`a DELETE was refused: ${facts}`);
    else if (destroy === 'done' && row.status !== 'stopped') found.push(`lost a DELETE: ${facts}`);
    else if (!killed && !(code === NO_HOST || row.reason?.code === NO_HOST)) {
      if (status !== 201 || moves.some((move) => move.status !== 200 && move.code !== NO_HOST))
        found.push(`failed without a reason of the storm: ${facts}`);
      else if (destroy === 'no' && row.status !== restOf(moves)) found.push(`lost: ${facts}`);
    }
  }
  return found;
}

/** I8: the same command again gets the same answer. */
async function sameAnswers({ client, claims }: Verified): Promise<string[]> {
  const found: string[] = [];
  for (const claim of claims) {
    const { status, body } = await client.create(claim);
    const id = body?.id ?? body?.error?.details?.sandbox_id ?? null;
    const code = body?.error?.code ?? null;
    if (status !== claim.status || id !== claim.id || code !== claim.code) {
      found.push(
        `I8: ${claim.key} was answered ${claim.status} ${claim.code} ${claim.id}, now ${status} ${code} ${id}`,
      );
    }
  }
  return found;
}

/** I7 and I8 of the control plane's actors. */
async function replayed(sql: pg.Client): Promise<string[]> {
  const found: string[] = [];
  for (const definition of [sandboxDefinition, hostDefinition] as ActorDefinition[]) {
    const machine = new PreparedMachine(definition);
    const { rows } = await sql.query(`select ${ACTOR_COLUMNS} from actors where kind = $1`, [definition.kind]);
    for (const row of rows.map(toActorRow)) {
      const entries = await sql.query(
        `select ${ENTRY_COLUMNS} from actor_events where kind = $1 and id = $2 order by seq`,
        [row.kind, row.id],
      );
      found.push(...compare(machine, row, entries.rows.map(toJournalEntry)));
    }
  }
  return found;
}

/** I7 and I8 of the agent's, as far back as its journal is kept. */
async function replayedOnHost(dir: string): Promise<string[]> {
  const state = new JournalState({ entries: 1_000_000, doneMs: Number.MAX_SAFE_INTEGER });
  const apply = (record: unknown) => state.apply(record as JournalRecord);
  const file = new JournalFile({ dir, apply, synced: () => state.synced(), compacted: () => [] });
  await file.open();
  await file.close();
  const machine = new PreparedMachine(vmDefinition);
  return [...state.actors.values()].flatMap(({ row }) => {
    const entries = state.entries.filter(({ id }) => id === row.id);
    return entries[0]?.seq === 1 ? compare(machine, row, entries) : [];
  });
}

function compare(machine: PreparedMachine, row: ActorRow, entries: readonly JournalEntry[]): string[] {
  const name = `${row.kind} ${row.id}`;
  const owed = row.kind === 'host' ? [] : row.ledger.owed;
  const found = owed.length > 0 ? [`I8: ${name} owes an answer to ${owed.join(', ')}`] : [];
  try {
    const state = replay(machine, { kind: row.kind, id: row.id }, entries);
    const again = state && (JSON.parse(JSON.stringify(actorRow(machine, state))) as ActorRow);
    if (!again || again.seq !== row.seq || again.path !== row.path || text(again.snapshot) !== text(row.snapshot)) {
      found.push(`I7: ${name} is ${row.path} at ${row.seq}, its journal gives ${again?.path} at ${again?.seq}`);
    }
  } catch (error) {
    found.push(`I7: ${(error as Error).message}`);
  }
  return found;
}

/** JSON with its keys in order: jsonb keeps its own. */
function text(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) =>
    item !== null && typeof item === 'object' && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  );
}
