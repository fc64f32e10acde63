/**
 * Durable transitions per second against steps of DBOS workflows and jobs of graphile-worker and pg-boss, each on a
 * database of its own in the same PostgreSQL, one after the other with as many in flight.
 *
 *     node bench/runtime/peers.ts
 */
import { benchPostgres } from '../lib/bench-postgres.ts';
import { resultLine } from '../lib/result-line.ts';
import { dbosSteps } from './peers/dbos.ts';
import { graphileJobs } from './peers/graphile-worker.ts';
import { pgBossJobs } from './peers/pg-boss.ts';
import { WORKERS_SQL } from './worker-machine.ts';
import { wrennTransitions } from './wrenn-transitions.ts';

const IN_FLIGHT = 256;
const postgres = await benchPostgres();
try {
  const empty = (name: string) => postgres.database(name, { migrated: false, tcp: true });
  const wrenn = await wrennTransitions(
    await postgres.database('wrenn', { sql: WORKERS_SQL, tcp: true }),
    IN_FLIGHT,
    40,
  );
  const peers = [
    ['DBOS steps', await dbosSteps(await empty('dbos'), IN_FLIGHT, 300)],
    ['graphile-worker jobs', await graphileJobs(await empty('graphile'), IN_FLIGHT, 2_000)],
    ['pg-boss jobs', await pgBossJobs(await empty('boss'), IN_FLIGHT, 2_000, 'workers')],
  ] as const;
  for (const [name, rate] of peers) {
    console.log(resultLine(`transitions against ${name}`, `${wrenn}/s, ${rate}/s`, wrenn / rate, '>= 10'));
  }
  // Not how it is used, but the most that its tables give.
  const most = await pgBossJobs(await empty('boss_by_hand'), IN_FLIGHT, 2_000, 'by hand');
  console.log(
    resultLine('transitions against pg-boss, batched by hand', `${wrenn}/s, ${most}/s`, wrenn / most, 'none'),
  );
} finally {
  await postgres.stop();
}
process.exit(0); // a peer leaves timers behind
