import { createPostgresRuntime } from '@wrenn/core';
import { worker } from './worker-machine.ts';

/** Makes idle actors on demand and says its resident memory: `memory-child.ts <url>`, one count per line in. */
const [, , url = ''] = process.argv;
const runtime = createPostgresRuntime({ connection: url, definitions: [worker], handlers: {} });
await runtime.start();
let made = 0;
process.stdin.on('data', async (data) => {
  const target = Number(data);
  const cause = { type: 'system' } as const;
  while (made < target) {
    const count = Math.min(500, target - made);
    await Promise.all(
      Array.from({ length: count }, (_, i) =>
        runtime.ask({ kind: 'worker', id: `idle-${made + i}` }, { type: 'CREATE' }, { cause }),
      ),
    );
    made += count;
  }
  for (let i = 0; i < 4; i += 1) {
    global.gc?.();
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  console.log(JSON.stringify({ made, rss: process.memoryUsage().rss }));
});
console.log(JSON.stringify({ ready: true }));
