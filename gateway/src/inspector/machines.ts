import { hostDefinition, type MachineData, machineAsData, sandboxDefinition, vmDefinition } from '@wrenn/actors';
import type { ActorDefinition } from '@wrenn/core';
import { notFound } from '../http/problems.ts';

/** Also of `vm`, which runs on hosts only. */
const definitions: readonly ActorDefinition[] = [sandboxDefinition, hostDefinition, vmDefinition];
const drawn = new Map<string, MachineData>();

/** The statechart as data. Only the present version is known: older ones are passed through upcasters when they wake. */
export function machineData(kind: string, version: number): MachineData {
  const definition = definitions.find((known) => known.kind === kind && known.version === version);
  if (!definition) throw notFound('No such machine.');
  const data = drawn.get(kind) ?? machineAsData(definition);
  drawn.set(kind, data);
  return data;
}
