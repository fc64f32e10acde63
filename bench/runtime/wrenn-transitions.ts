import { createPostgresRuntime } from '@wrenn/core';
import { perSecond } from '../lib/result-line.ts';
import { worker } from './worker-machine.ts';

/** The whole runtime: `inFlight` actors, each asked for its next round as soon as it has answered. Two transitions a round. */
export async function wrennTransitions(url: string, inFlight: number, rounds: number): Promise<number> {
  const runtime = createPostgresRuntime({
    connection: url,
    definitions: [worker],
    handlers: { work: async () => ({ type: 'DONE' }) },
  });
  await runtime.start();
  const cause = { type: 'system' } as const;
  const refs = Array.from({ length: inFlight }, (_, i) => ({ kind: 'worker', id: `w${i}` }));
  await Promise.all(refs.map((ref) => runtime.ask(ref, { type: 'CREATE' }, { cause })));
  const run = async (count: number) => {
    await Promise.all(
      refs.map(async (ref) => {
        for (let i = 0; i < count; i += 1) {
          const answer = await runtime.ask(ref, { type: 'GO' }, { cause });
          if (!answer.ok) throw new Error(answer.error.message);
        }
      }),
    );
  };
  await run(10);
  const started = performance.now();
  await run(rounds);
  const ms = performance.now() - started;
  await runtime.stop();
  return perSecond(2 * rounds * inFlight, ms);
}
