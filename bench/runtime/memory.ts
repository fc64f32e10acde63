/**
 * Memory per idle actor, each with a timer set: the slope of the process's resident memory up to 100,000 actors.
 *
 *     node bench/runtime/memory.ts [actors]
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { benchPostgres } from '../lib/bench-postgres.ts';
import { WORKERS_SQL } from './worker-machine.ts';

const most = Number(process.argv[2] ?? 100_000);
/** Below it the program itself still grows: code that is compiled, pools that fill. */
const least = most / 5;
const postgres = await benchPostgres();
const child = spawn(
  process.execPath,
  [
    '--expose-gc',
    join(import.meta.dirname, 'memory-child.ts'),
    await postgres.database('memory', { sql: WORKERS_SQL }),
  ],
  { stdio: ['pipe', 'pipe', 'inherit'] },
);
try {
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => JSON.parse((await lines.next()).value ?? '{}') as { rss: number };
  await next();
  const rssOf = (actors: number) => {
    child.stdin.write(`${actors}\n`);
    return next();
  };
  const before = await rssOf(least);
  const after = await rssOf(most);
  const perActor = Math.max(0, (after.rss - before.rss) / (most - least) / 1024);
  const mb = ({ rss }: { rss: number }) => `${Math.round(rss / 2 ** 20)} MB`;
  console.log(
    `memory per idle actor with a timer: ${mb(before)} at ${least}, ${mb(after)} at ${most}, ${perActor.toFixed(2)} KB (bar <= 2 KB)`,
  );
} finally {
  child.kill();
  await postgres.stop();
}
