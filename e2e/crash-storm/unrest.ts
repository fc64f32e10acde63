import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { cgroupList, slotList } from '@wrenn/addon';
import type pg from 'pg';
import type { StackSettings } from '../../scripts/dev/settings.ts';
import { type Finding, findings } from './finding.ts';
import { RESERVE } from './host.ts';
import { isAhead, liveVms } from './live-vms.ts';

interface SandboxRow {
  readonly id: string;
  readonly status: string;
  readonly incarnation: number;
  /** Its last pause, whose files stay until it is paused again; 0: none. */
  readonly paused: number;
  readonly released: boolean;
}

const AT_REST = ['running', 'stopped', 'error', 'paused'];

/** I1 to I6, as database, kernel and disk have it; nothing where all is at rest and as it should be. */
export async function unrest(sql: pg.Client, settings: StackSettings): Promise<Finding[]> {
  const { rows } = await sql.query<SandboxRow>(
    `select s.id, s.status, s.incarnation, (a.snapshot #>> '{context,paused_incarnation}')::int as paused,
        (a.snapshot #>> '{context,released}')::bool as released
       from sandboxes s join actors a on a.kind = 'sandbox' and a.id = s.id`,
  );
  return [
    ...(await unfinished(sql, rows)),
    ...(await onHost(settings, rows)),
    ...(await snapshots(sql, settings)),
    ...(await reservations(sql, rows)),
  ];
}

/** I3 and I4: nothing is under way. */
async function unfinished(sql: pg.Client, rows: readonly SandboxRow[]): Promise<Finding[]> {
  const working = rows.filter(({ status }) => !AT_REST.includes(status));
  const messages = await sql.query<{ what: string; id: string }>(
    `select to_kind || ' ' || to_id || ' ' || message_id as what, to_id as id from actor_outbox
     union all select 'parked ' || kind || ' ' || id || ' ' || message_id, id from actor_parked`,
  );
  const { rows: effects } = await sql.query<Record<'id' | 'name' | 'node' | 'path' | 'kind', string>>(
    'select e.id, e.kind, e.name, e.node, a.path from actor_effects e left join actors a on a.kind = e.kind and a.id = e.id',
  );
  const named = (some: typeof effects) =>
    [some.map(({ id, name }) => `${id} ${name}`), some.map(({ id }) => id)] as const;
  const ids = working.map(({ id }) => id);
  return [
    ...findings(
      'I3: sandboxes that do not come to rest',
      working.map(({ id, status }) => `${id} ${status}`),
      ids,
    ),
    ...findings(
      'I3: messages that nobody takes',
      messages.rows.map(({ what }) => what),
      messages.rows.map(({ id }) => id),
    ),
    ...findings(
      'I4: open effects that their state does not expect',
      ...named(effects.filter(({ node, path }) => !isActive(node, path))),
    ),
    ...findings('I3: open effects of what is at rest', ...named(effects.filter(({ kind }) => kind !== 'host'))),
  ];
}

function isActive(node: string, path: string | null): boolean {
  return (path ?? '').split('+').some((leaf) => leaf === node || leaf.startsWith(`${node}.`));
}

/** I1, I2 and I5: what kernel and disk hold is what the sandboxes are, and what is in reserve. */
async function onHost({ wrennDir, slots: range, dir }: StackSettings, rows: readonly SandboxRow[]): Promise<Finding[]> {
  const running = ofStatus(rows, 'running');
  const paused = rows
    .filter(
      (row) =>
        row.paused > 0 && (['running', 'paused'].includes(row.status) || (row.status === 'error' && !row.released)),
    )
    .map((row) => `${row.id}.${row.paused}`);
  const ahead = RESERVE.warm + RESERVE.waiting;
  const vms = liveVms(wrennDir);
  const folders = readdirSync(join(wrennDir, 'sandboxes'));
  const [first = 1, last = first] = range.split('-').map(Number);
  const slots = await slotList({ first, last });
  const groups = (await cgroupList()).filter((name) => {
    const slot = Number(/^slot-(\d+)$/.exec(name)?.[1]);
    return slot >= first && slot <= last;
  });
  const counted = (what: string, is: number, wanted: number) =>
    is === wanted
      ? []
      : [{ line: `I5: ${is} ${what} for ${running.length} sandboxes that run, instead of ${wanted}`, ids: [] }];
  return [
    ...difference('I1: VMMs', withoutAhead(vms.keys()), running),
    ...findings(
      'I1: VMs with two VMMs',
      [...vms].filter(([, pids]) => pids.length > 1).map(([id]) => id),
    ),
    ...counted('VMMs made ahead', [...vms.keys()].filter(isAhead).length, ahead),
    ...difference('I5: folders of sandboxes', withoutAhead(folders), [...running, ...paused]),
    ...counted('folders made ahead', folders.filter(isAhead).length, ahead),
    ...findings(
      'I2: pauses without a whole snapshot',
      paused.filter((id) => !existsSync(join(wrennDir, 'sandboxes', id, 'manifest.json'))),
    ),
    ...counted('network slots', slots.length, running.length + ahead + RESERVE.slots),
    ...findings(
      'I5: halves of network slots',
      slots.filter(({ namespace, veth }) => !namespace || !veth).map(({ index }) => `${index}`),
      [],
    ),
    ...counted('control groups', groups.length, running.length + ahead),
    ...findings(
      'I5: mounts',
      readFileSync('/proc/mounts', 'utf8')
        .split('\n')
        .filter((line) => line.includes(dir)),
      [],
    ),
  ];
}

/** I2 and I5: the snapshots that lie there are the boot snapshots and the templates, each of them whole. */
async function snapshots(sql: pg.Client, { wrennDir }: StackSettings): Promise<Finding[]> {
  const folder = join(wrennDir, 'snapshots');
  const there = readdirSync(folder).filter((name) => !name.startsWith('boot.') && !name.endsWith('.new'));
  const { rows } = await sql.query<{ id: string; path: string }>(`select id, path from actors where kind = 'snapshot'`);
  const ready = rows.filter(({ path }) => path === 'ready').map(({ id }) => id);
  // What the host may make of it after all is deleted a while later.
  const lingering = rows.filter(({ path }) => path === 'lingering').map(({ id }) => id);
  return [
    ...difference(
      'I2: snapshots',
      there.filter((id) => !lingering.includes(id)),
      ready,
    ),
    ...findings(
      'I2: templates without a whole snapshot',
      ready.filter((id) => !existsSync(join(folder, id, 'manifest.json'))),
    ),
  ];
}

async function reservations(sql: pg.Client, rows: readonly SandboxRow[]): Promise<Finding[]> {
  const reserved = await sql.query<{ id: string }>(
    `select r.sandbox_id || '.' || r.incarnation as id from reservations r`,
  );
  return difference(
    'I6: reservations',
    reserved.rows.map(({ id }) => id),
    ofStatus(rows, 'running'),
  );
}

const withoutAhead = (ids: Iterable<string>): string[] => [...ids].filter((id) => !isAhead(id));

function ofStatus(rows: readonly SandboxRow[], wanted: string): string[] {
  return rows.filter(({ status }) => status === wanted).map(({ id, incarnation }) => `${id}.${incarnation}`);
}

function difference(what: string, is: readonly string[], wanted: readonly string[]): Finding[] {
  return [
    ...findings(
      `${what}, too many`,
      is.filter((id) => !wanted.includes(id)),
    ),
    ...findings(
      `${what}, missing`,
      wanted.filter((id) => !is.includes(id)),
    ),
  ];
}
