import type { Services } from '../services.ts';
import type { SeenActor } from './actor-access.ts';
import { describeActor } from './actor-detail.ts';
import { entryJson } from './actor-json.ts';
import { wholeJournal } from './journal-pages.ts';
import { machineData } from './machines.ts';

/** `{machine, actor, journal}` as JSON, one journal entry a line, never whole in memory. */
export async function* exportActor(services: Services, seen: SeenActor): AsyncGenerator<Uint8Array> {
  const { kind, machineVersion } = seen.view;
  const actor = await describeActor(services, seen);
  const machine = machineData(kind, machineVersion);
  yield Buffer.from(`{"machine":${JSON.stringify(machine)},\n"actor":${JSON.stringify(actor)},\n"journal":[`);
  let separator = '\n';
  for await (const entry of wholeJournal(services, seen)) {
    yield Buffer.from(separator + JSON.stringify(entryJson(entry)));
    separator = ',\n';
  }
  yield Buffer.from('\n]}\n');
}
