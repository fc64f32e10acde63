import { readFile, writeFile } from 'node:fs/promises';
import { hostDefinition, machineAsData, sandboxDefinition, snapshotDefinition, vmDefinition } from '@wrenn/actors';
import { elkLayout } from './elk-layout.ts';
import { type Layout, shapeOf } from './layout.ts';
import type { MachineData } from './machine-data.ts';

/**
 * `node console/src/statechart/write-layouts.ts [--check]`: writes layouts.generated.json from the machines, or fails
 * when it is not current.
 */
const FILE = new URL('./layouts.generated.json', import.meta.url);

const machines: MachineData[] = [sandboxDefinition, snapshotDefinition, hostDefinition, vmDefinition].map(
  machineAsData,
);

if (process.argv.includes('--check')) {
  const present = JSON.parse(await readFile(FILE, 'utf8')) as Record<string, Layout>;
  const stale = machines.filter((machine) => present[machine.kind]?.shape !== shapeOf(machine));
  if (stale.length > 0) {
    const kinds = stale.map(({ kind }) => kind).join(', ');
    console.error(`layouts of ${kinds} are not current: run node console/src/statechart/write-layouts.ts`);
    process.exitCode = 1;
  }
} else {
  const layouts: Record<string, Layout> = {};
  for (const machine of machines) layouts[machine.kind] = await elkLayout(machine);
  await writeFile(FILE, `${JSON.stringify(layouts)}\n`);
}
