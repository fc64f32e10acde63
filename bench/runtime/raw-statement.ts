import pg from 'pg';
import { fold } from '../../core/src/engine/fold.ts';
import { newResident, queued, type Resident } from '../../core/src/engine/resident.ts';
import { CommitRows } from '../../core/src/postgres/commit-rows.ts';
import { commitSql, projectionName } from '../../core/src/postgres/commit-sql.ts';
import { PreparedMachine } from '../../core/src/step/prepared-machine.ts';
import { effectKey } from '../../core/src/step/refs.ts';
import { perSecond } from '../lib/result-line.ts';
import { worker } from './worker-machine.ts';

const LANES = 4;
const EPOCH = 1_000_000;

interface Query {
  readonly name: string;
  readonly text: string;
  readonly values: unknown[];
}

/**
 * The bare side: the same statements with the same rows, all made before the clock starts, sent by as many connections as
 * the runtime has lanes, with as many rows in flight. What is left is PostgreSQL and the driver.
 * @returns transitions per second.
 */
export async function rawTransitions(url: string, inFlight: number, statements: number): Promise<number> {
  const clients = await Promise.all(
    Array.from({ length: LANES }, async () => {
      const client = new pg.Client({
        connectionString: url,
        options: '-c enable_seqscan=off -c jit=off -c plan_cache_mode=force_generic_plan',
      });
      await client.connect();
      return client;
    }),
  );
  await clients[0]?.query('update partitions set owner = $1, epoch = $2', ['raw', EPOCH]);
  const names = new Map<string, string>();
  const rows = inFlight / LANES;
  const lanes = clients.map((_, lane) => prepare(lane, rows, statements / LANES, names));
  for (const [lane, client] of clients.entries())
    for (const query of lanes[lane]?.splice(0, 5) ?? []) await client.query(query);
  const started = performance.now();
  await Promise.all(
    clients.map(async (client, lane) => {
      for (const query of lanes[lane] ?? []) {
        const { rows: results } = await client.query(query);
        if (!results.every(({ moved }) => moved)) throw new Error('a raw statement lost');
      }
    }),
  );
  const ms = performance.now() - started;
  const count = lanes.reduce((sum, queries) => sum + queries.length, 0) * rows;
  await Promise.all(clients.map((client) => client.end()));
  return perSecond(count, ms);
}

function prepare(lane: number, size: number, statements: number, names: Map<string, string>): Query[] {
  const machine = new PreparedMachine(worker);
  const projections = new Map([[projectionName('worker', 'workers'), worker.projections?.[0] as never]]);
  const residents = Array.from({ length: size }, (_, i) => {
    const ref = { kind: 'worker', id: `raw-${lane}-${i}` };
    return { ...newResident(ref, `worker:${ref.id}`), known: true };
  });
  return Array.from({ length: statements }, (_, n) => {
    const commits = residents.map((resident) => {
      const { commit } = fold(machine, resident, [queued(message(resident, n))], Date.now(), EPOCH);
      if (!commit) throw new Error('nothing to commit');
      return commit;
    });
    const rows = new CommitRows(commits);
    const sections = rows.sections();
    const key = sections.join(' ');
    if (!names.has(key)) names.set(key, `raw_${names.size}`);
    return { name: names.get(key) as string, text: commitSql(sections, projections), values: rows.values(sections) };
  });
}

function message({ ref, state }: Resident, n: number) {
  const common = { id: `${ref.id}:${n}`, to: ref, asked: false };
  if (n === 0) return { ...common, event: { type: 'CREATE' }, cause: { type: 'system' } as const };
  if (n % 2 === 1) return { ...common, event: { type: 'GO' }, cause: { type: 'system' } as const };
  const [number] = [...(state?.effects.keys() ?? [])];
  const key = effectKey(ref, number ?? 0);
  return { ...common, event: { type: 'DONE' }, cause: { type: 'effect', name: 'work', key } as const, effectKey: key };
}
