import { DBOS } from '@dbos-inc/dbos-sdk';
import { perSecond } from '../../lib/result-line.ts';

const STEPS = 10;

/** Steps per second of workflows of ten steps that do nothing, `inFlight` workflows at a time. */
export async function dbosSteps(url: string, inFlight: number, workflows: number): Promise<number> {
  DBOS.setConfig({ name: 'bench', systemDatabaseUrl: url, systemDatabasePoolSize: 20, logLevel: 'error' });
  const workflow = DBOS.registerWorkflow(
    async () => {
      for (let i = 0; i < STEPS; i += 1) await DBOS.runStep(async () => i, { name: `step${i}` });
    },
    { name: 'bench' },
  );
  await DBOS.launch();
  const run = async (count: number) => {
    let left = count;
    const one = async () => {
      while (left > 0) {
        left -= 1;
        await workflow();
      }
    };
    await Promise.all(Array.from({ length: inFlight }, one));
  };
  await run(inFlight);
  const started = performance.now();
  await run(workflows);
  const ms = performance.now() - started;
  await DBOS.shutdown();
  return perSecond(workflows * STEPS, ms);
}
