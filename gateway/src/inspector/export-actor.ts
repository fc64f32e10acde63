import type { MachineData } from '@wrenn/actors';
import { z } from 'zod';
import type { Services } from '../services.ts';
import type { SeenActor } from './actor-access.ts';
import { describeActor } from './actor-detail.ts';
import { entryJson } from './journal-json.ts';
import { wholeJournal } from './journal-pages.ts';
import { machineData } from './machines.ts';

/**
 * `{machine, machines, actor, journal}` as JSON, one journal entry a line, never whole in memory. `machines` are all the
 * versions that the journal names, by version; `machine` is the present one.
 */
export async function* exportActor(services: Services, seen: SeenActor): AsyncGenerator<Uint8Array> {
  const { kind, machineVersion } = seen.view;
  const actor = await describeActor(services, seen);
  const machine = await machineData(services.sql, kind, machineVersion);
  const machines = await machinesOf(services, seen);
  yield Buffer.from(`{"machine":${JSON.stringify(machine)},\n"machines":${JSON.stringify(machines)},\n`);
  yield Buffer.from(`"actor":${JSON.stringify(actor)},\n"journal":[`);
  let separator = '\n';
  for await (const entry of wholeJournal(services, seen)) {
    yield Buffer.from(separator + JSON.stringify(entryJson(entry)));
    separator = ',\n';
  }
  yield Buffer.from('\n]}\n');
}

const versionRow = z.object({ version: z.number() });

async function machinesOf({ sql }: Services, { view, mirrorOf }: SeenActor): Promise<Record<number, MachineData>> {
  const { rows } =
    mirrorOf === null
      ? await sql.query('select distinct machine_version as version from actor_events where kind = $1 and id = $2', [
          view.kind,
          view.id,
        ])
      : await sql.query(
          `select distinct (entry ->> 'machineVersion')::integer as version from vm_journal where id = $1`,
          [view.id],
        );
  const versions = z.array(versionRow).parse(rows);
  const known = await Promise.all(
    versions.map(
      async ({ version }) => [version, await machineData(sql, view.kind, version).catch(() => null)] as const,
    ),
  );
  return Object.fromEntries(known.filter((pair): pair is [number, MachineData] => pair[1] !== null));
}
