import { readFile, writeFile } from 'node:fs/promises';
import { hostDefinition } from './host/definition.ts';
import { machineAsData } from './machine-as-data.ts';
import { sandboxDefinition } from './sandbox/definition.ts';
import { snapshotDefinition } from './snapshot/definition.ts';
import { machineTables } from './tables.ts';
import { vmDefinition } from './vm/definition.ts';

// `node actors/src/render.ts` writes <kind>/README.md from the machines; with --check it only says which are not current.

const check = process.argv.includes('--check');
const stale: string[] = [];
for (const definition of [sandboxDefinition, snapshotDefinition, hostDefinition, vmDefinition]) {
  const file = new URL(`./${definition.kind}/README.md`, import.meta.url);
  const wanted = machineTables(machineAsData(definition));
  const present = await readFile(file, 'utf8').catch(() => '');
  if (present === wanted) continue;
  if (check) stale.push(`actors/src/${definition.kind}/README.md`);
  else await writeFile(file, wanted);
}
if (stale.length > 0) {
  console.error(`not current: ${stale.join(', ')} (run: node actors/src/render.ts)`);
  process.exitCode = 1;
}
