import { type Layout, shapeOf } from './layout.ts';
import layouts from './layouts.generated.json';
import type { MachineData } from './machine-data.ts';
import { simpleLayout } from './simple-layout.ts';

const known = layouts as unknown as Record<string, Layout>;

/** The layout made at build time where it is this machine's; else (an older or newer machine) a simple one, made here. */
export function layoutOf(machine: MachineData): Layout {
  const layout = known[machine.kind];
  return layout && layout.shape === shapeOf(machine) ? layout : simpleLayout(machine);
}
