import {
  hostDefinition,
  type MachineData,
  machineAsData,
  sandboxDefinition,
  snapshotDefinition,
  vmDefinition,
} from '@wrenn/actors';
import { type ActorDefinition, query, queryOne } from '@wrenn/core';
import type { Pool } from 'pg';
import { z } from 'zod';
import { notFound } from '../http/problems.ts';

/** Also of `vm`, which runs on hosts only. */
const definitions: readonly ActorDefinition[] = [sandboxDefinition, snapshotDefinition, hostDefinition, vmDefinition];
const drawn = new Map<string, MachineData>();

export function definitionOf(kind: string): ActorDefinition {
  const definition = definitions.find((candidate) => candidate.kind === kind);
  if (!definition) throw notFound('No such machine.');
  return definition;
}

/** Machines of this program, by kind. */
export function presentMachine(kind: string): MachineData {
  const known = drawn.get(kind);
  if (known) return known;
  const data = machineAsData(definitionOf(kind));
  drawn.set(kind, data);
  return data;
}

/** Keeps the present versions for the time when there are later ones. At each start. */
export async function rememberMachines(sql: Pool): Promise<void> {
  const present = definitions.map(({ kind }) => presentMachine(kind));
  await sql.query(
    `insert into machines (kind, version, data)
     select kind, version, data from jsonb_to_recordset($1) as m (kind text, version integer, data jsonb)
     on conflict (kind, version) do update set data = excluded.data where machines.data <> excluded.data`,
    [JSON.stringify(present.map((data) => ({ kind: data.kind, version: data.version, data })))],
  );
}

/** The statechart as data: of this program, or an earlier version that ran on this database. */
export async function machineData(sql: Pool, kind: string, version: number): Promise<MachineData> {
  const present = presentMachine(kind);
  if (present.version === version) return present;
  const row = await queryOne(
    sql,
    z.object({ data: z.custom<MachineData>() }),
    'select data from machines where kind = $1 and version = $2',
    [kind, version],
  );
  if (!row) throw notFound('No such machine.');
  return row.data;
}

export const machineSummary = z.object({ kind: z.string(), version: z.int(), present: z.boolean() });

/** Every version that is known; `present` are those of this program. */
export async function listMachines(sql: Pool): Promise<z.output<typeof machineSummary>[]> {
  const rows = await query(
    sql,
    machineSummary.omit({ present: true }),
    'select kind, version from machines order by kind, version desc',
  );
  return rows.map((row) => ({ ...row, present: presentMachine(row.kind).version === row.version }));
}
