import { Logger, makeWorkerUtils, run } from 'graphile-worker';
import pg from 'pg';
import { perSecond } from '../../lib/result-line.ts';

const silent = new Logger(() => () => undefined);

/** Jobs per second that do nothing: each added by itself, `inFlight` at a time, awaited until it was worked. */
export async function graphileJobs(url: string, inFlight: number, jobs: number): Promise<number> {
  const pgPool = new pg.Pool({ connectionString: url, max: 20 });
  const done = new Map<number, () => void>();
  const utils = await makeWorkerUtils({ pgPool, logger: silent });
  await utils.migrate();
  const runner = await run({
    pgPool,
    logger: silent,
    concurrency: inFlight,
    pollInterval: 500,
    taskList: {
      step: async (payload) => {
        const { n } = payload as { n: number };
        done.get(n)?.();
        done.delete(n);
      },
    },
  });
  let n = 0;
  const work = async (count: number) => {
    const end = n + count;
    const one = async () => {
      while (n < end) {
        n += 1;
        const mine = n;
        const worked = new Promise<void>((resolve) => done.set(mine, resolve));
        await utils.addJob('step', { n: mine });
        await worked;
      }
    };
    await Promise.all(Array.from({ length: inFlight }, one));
  };
  await work(2 * inFlight);
  const started = performance.now();
  await work(jobs);
  const ms = performance.now() - started;
  await runner.stop();
  await utils.release();
  await pgPool.end();
  return perSecond(jobs, ms);
}
