/**
 * Seconds from the start of a runtime until it is in control of 10,000 actors that a killed one left: every open effect
 * has run again, a third of them has had an overdue timer fire, and each has answered a message.
 *
 *     node bench/runtime/control.ts [actors]
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createPostgresRuntime } from '@wrenn/core';
import { benchPostgres, run } from '../lib/bench-postgres.ts';
import { WORKERS_SQL, worker } from './worker-machine.ts';

const count = Number(process.argv[2] ?? 10_000);
const postgres = await benchPostgres();
try {
  const url = await postgres.database('control', { sql: WORKERS_SQL });
  const child = spawn(process.execPath, [join(import.meta.dirname, 'control-child.ts'), url, String(count)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  child.kill('SIGKILL');
  await once(child, 'exit');
  await run(url, 'update actor_timers set due_at = 1 where abs(hashtext(id)) % 3 = 0');

  const ran = new Set<string>();
  const started = performance.now();
  const runtime = createPostgresRuntime({
    connection: url,
    definitions: [worker],
    handlers: {
      work: async ({ actor }) => {
        ran.add(actor.id);
        return null;
      },
    },
  });
  await runtime.start();
  const startedMs = performance.now() - started;
  const cause = { type: 'system' } as const;
  const refs = Array.from({ length: count }, (_, i) => ({ kind: 'worker', id: `w${i}` }));
  // A command that is refused is answered like any other: read, stepped, committed.
  await Promise.all(refs.map((to) => runtime.ask(to, { type: 'CREATE' }, { cause })));
  const answeredMs = performance.now() - started;
  const overdue = `select count(*)::int as left from actor_timers where due_at = 1`;
  const { default: pg } = await import('pg');
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  while ((await client.query<{ left: number }>(overdue)).rows[0]?.left !== 0)
    await new Promise((resolve) => setTimeout(resolve, 5));
  const seconds = (performance.now() - started) / 1000;
  if (ran.size !== count) throw new Error(`only ${ran.size} of ${count} effects ran`);
  await client.end();
  await runtime.stop();
  const ms = (value: number) => `${Math.round(value)} ms`;
  console.log(
    `control of ${count} actors after kill -9: leases, timers and effects ${ms(startedMs)}, all answered ${ms(answeredMs)}, ${seconds.toFixed(2)} s (bar < 2 s)`,
  );
} finally {
  await postgres.stop();
}
