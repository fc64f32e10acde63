import { PgBoss } from 'pg-boss';
import { perSecond } from '../../lib/result-line.ts';

const BATCH = 64;
const WORKERS = 4;

/**
 * Jobs per second that do nothing: each sent by itself, `inFlight` at a time, awaited until it was completed.
 *
 * `workers` takes them as its users do, with what the library offers against waiting (NOTIFY, bursts, batches);
 * `by hand` fetches and completes whole batches in a loop without any pause, which no `work()` does.
 */
export async function pgBossJobs(
  url: string,
  inFlight: number,
  jobs: number,
  how: 'workers' | 'by hand',
): Promise<number> {
  const boss = new PgBoss({ connectionString: url, max: 20, useListenNotify: how === 'workers' });
  boss.on('error', () => undefined);
  await boss.start();
  await boss.createQueue('step', { notify: how === 'workers' });
  const done = new Map<string, () => void>();
  const finished = (id: string) => {
    done.get(id)?.();
    done.delete(id);
  };
  let running = true;
  const loop = async () => {
    while (running) {
      const batch = await boss.fetch('step', { batchSize: BATCH });
      const ids = batch.map(({ id }) => id);
      if (ids.length === 0) await new Promise((resolve) => setTimeout(resolve, 2));
      else await boss.complete('step', ids);
      for (const id of ids) finished(id);
    }
  };
  let loops: Promise<void>[] = [];
  if (how === 'by hand') loops = [loop(), loop()];
  else {
    const options = {
      batchSize: BATCH,
      localConcurrency: WORKERS,
      burstWhenBatchFull: true,
      pollingIntervalSeconds: 0.5,
    };
    await boss.work('step', options, async (batch) => {
      for (const { id } of batch) finished(id);
    });
  }
  const work = async (count: number) => {
    let left = count;
    const one = async () => {
      while (left > 0) {
        left -= 1;
        const id = crypto.randomUUID();
        const completed = new Promise<void>((resolve) => done.set(id, resolve));
        await boss.send('step', { left }, { id });
        await completed;
      }
    };
    await Promise.all(Array.from({ length: inFlight }, one));
  };
  await work(2 * inFlight);
  const started = performance.now();
  await work(jobs);
  const ms = performance.now() - started;
  running = false;
  await Promise.all(loops);
  await boss.stop({ graceful: false });
  return perSecond(jobs, ms);
}
