import { type ActorKind, api, ok } from '../lib/api.ts';
import type { MachineData } from '../statechart/machine-data.ts';

const loaded = new Map<string, Promise<MachineData>>();

/** A machine never changes under its version: it is asked for once. */
export function loadMachine(kind: string, version: number): Promise<MachineData> {
  const name = `${kind}@${version}`;
  let machine = loaded.get(name);
  if (!machine) {
    const path = { kind: kind as ActorKind, version };
    machine = ok(
      api.GET('/v1/machines/{kind}/{version}', { params: { path } }),
    ) as Promise<unknown> as Promise<MachineData>;
    machine.catch(() => loaded.delete(name));
    loaded.set(name, machine);
  }
  return machine;
}
