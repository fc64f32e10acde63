/**
 * Durable transitions per second, the whole path (journal, timers, effects, read model, answers), against the raw
 * group-commit statement on the same PostgreSQL.
 *
 *     node bench/runtime/transitions.ts
 */
import { benchPostgres } from '../lib/bench-postgres.ts';
import { resultLine } from '../lib/result-line.ts';
import { rawTransitions } from './raw-statement.ts';
import { WORKERS_SQL } from './worker-machine.ts';
import { wrennTransitions } from './wrenn-transitions.ts';

const postgres = await benchPostgres();
try {
  for (const [inFlight, rounds] of [
    [32, 200],
    [256, 60],
  ] as const) {
    const database = (side: string) => postgres.database(`${side}_${inFlight}`, { sql: WORKERS_SQL });
    const raw = await rawTransitions(await database('raw'), inFlight, 2 * rounds * 4);
    const wrenn = await wrennTransitions(await database('wrenn'), inFlight, rounds);
    const what = `durable transitions, ${inFlight} in flight`;
    console.log(resultLine(what, `${wrenn}/s, raw statement ${raw}/s`, wrenn / raw, '>= 0.4'));
  }
} finally {
  await postgres.stop();
}
