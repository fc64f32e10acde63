import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { StackSettings } from '../../scripts/dev/settings.ts';
import type { Client } from './client.ts';
import { explained } from './excerpt.ts';
import type { Finding } from './finding.ts';
import { readHostJournal, replayedOnHost, takenOver } from './host-journal.ts';
import { type AtRest, claimsKept, namedKept, sameAnswers } from './kept.ts';
import { sandboxOf } from './live-vms.ts';
import type { Program } from './program.ts';
import { replayed } from './replayed.ts';
import { unrest } from './unrest.ts';

export interface Verified {
  readonly settings: StackSettings;
  /** Of its database. */
  readonly databaseUrl: string;
  readonly clients: readonly Client[];
  /** Who asks now; all others have ended. */
  readonly client: Client;
  /** VMs whose VMM was killed, as they were called then. */
  readonly killedVms: ReadonlySet<string>;
  readonly agent: Program;
  /** What was seen on the way. */
  readonly seen: readonly Finding[];
  readonly say: (line: string) => void;
}

/** Everything comes to rest by itself within this time: the slowest way is an inventory of the host, every 30 s. */
const REST_MS = 120_000;
const LOOK_MS = 250;
/** Every so many looks it tells what it waits for. */
const TELL_EVERY = 60;

/**
 * What is not as it should be after a storm; each line names its invariant (I1 to I8), and is followed by what the
 * journals say. Ends with no sandbox and no agent.
 */
export async function verify(all: Verified): Promise<string[]> {
  const { settings, client, clients, say } = all;
  const sql = new pg.Client({ connectionString: all.databaseUrl });
  await sql.connect();
  try {
    const found = [...all.seen, ...(await untilNothing(() => unrest(sql, settings), say))];
    const { rows } = await sql.query<AtRest>('select id, status, reason from sandboxes');
    const claims = clients.flatMap((one) => one.claims);
    const named = clients.flatMap((one) => one.named);
    found.push(...(await sameAnswers(client, { claims, rows })), ...(await replayed(sql)));
    for (const id of await withStatus(sql, 'paused')) {
      const { status, body } = await client.call('POST', `/v1/sandboxes/${id}/resume`);
      if (status !== 200) found.push({ line: `I2: does not resume: ${status} ${JSON.stringify(body)}`, ids: [id] });
    }
    found.push(...(await namedKept(client, named)));
    const ids = [...(await withStatus(sql, 'running')), ...(await withStatus(sql, 'paused'))];
    for (const id of ids) await client.call('DELETE', `/v1/sandboxes/${id}`);
    found.push(...(await untilNothing(() => unrest(sql, settings), say)));
    const undestroyed = await withStatus(sql, 'running');
    if (undestroyed.length > 0) found.push({ line: 'I3: sandboxes run that were destroyed', ids: undestroyed });
    await all.agent.stop();
    const journal = await readHostJournal(join(settings.wrennDir, 'journal'));
    found.push(...replayedOnHost(journal));
    // One that was made ahead may have been taken over in the moment when it was killed.
    const taken = takenOver(journal);
    const killed = new Set([...all.killedVms].map((vmId) => sandboxOf(taken.get(vmId) ?? vmId)));
    found.push(...claimsKept({ claims, rows, killed }));
    return await explained(found, sql, journal);
  } finally {
    await sql.end();
  }
}

/** What is found once it no longer changes for the better. */
async function untilNothing(look: () => Promise<Finding[]>, say: (line: string) => void): Promise<Finding[]> {
  const deadline = Date.now() + REST_MS;
  for (let looks = 1; ; looks += 1) {
    const found = await look();
    if (found.length === 0 || Date.now() > deadline) return found;
    if (looks % TELL_EVERY === 0) say(`not at rest yet: ${found.map(({ line }) => line).join('; ')}`);
    await sleep(LOOK_MS);
  }
}

async function withStatus(sql: pg.Client, status: string): Promise<string[]> {
  const { rows } = await sql.query<{ id: string }>('select id from sandboxes where status = $1', [status]);
  return rows.map(({ id }) => id);
}
