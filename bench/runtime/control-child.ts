import { createPostgresRuntime } from '@wrenn/core';
import { worker } from './worker-machine.ts';

/**
 * Makes `count` actors and waits to be killed: `control-child.ts <url> <count>`. Their effects never end and their
 * deadlines are long.
 */
const [, , url = '', count = '0'] = process.argv;
const runtime = createPostgresRuntime({ connection: url, definitions: [worker], handlers: { work: async () => null } });
await runtime.start();
const cause = { type: 'system' } as const;
for (let made = 0; made < Number(count); made += 500) {
  const refs = Array.from({ length: Math.min(500, Number(count) - made) }, (_, i) => ({
    kind: 'worker',
    id: `w${made + i}`,
  }));
  await Promise.all(
    refs.map(async (to) => {
      await runtime.ask(to, { type: 'CREATE' }, { cause });
      await runtime.tell(to, { type: 'GO' }, { cause });
    }),
  );
}
console.log('made');
setInterval(() => undefined, 60_000);
