/**
 * A Jupyter kernel for JavaScript and TypeScript: `node kernel.mjs [--typescript] <connection file>`.
 *
 * The main thread runs the user's code and nothing else. Jupyter's sockets are a worker's (./wire.mjs), so that output
 * flows, heartbeats are answered and an endless loop can be interrupted while the main thread is busy.
 */
import { Worker } from 'node:worker_threads';
import { installDisplay } from './display.mjs';
import { Evaluator } from './evaluator.mjs';
import { installServiceHooks } from './service-hooks.mjs';

const typescript = process.argv.includes('--typescript');
const wire = new Worker(new URL('./wire.mjs', import.meta.url), {
  workerData: { connectionFile: process.argv.at(-1), language: typescript ? 'typescript' : 'javascript' },
});
const evaluator = new Evaluator({ typescript });

/** Of the run that output belongs to: what asynchronous code prints later goes to the cell that ran last. */
let parent;
const publish = (type, content) => wire.postMessage({ parent, type, content });

for (const name of ['stdout', 'stderr']) {
  process[name].write = (chunk, encoding, callback) => {
    const text = typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString();
    publish('stream', { name, text });
    (typeof encoding === 'function' ? encoding : callback)?.();
    return true;
  };
}
for (const event of ['uncaughtException', 'unhandledRejection']) {
  process.on(event, (error) => process.stderr.write(`Uncaught ${error?.stack ?? error}\n`));
}
installDisplay((data) => publish('display_data', { data, metadata: {}, transient: {} }));
installServiceHooks();

wire.on('message', async ({ type, id, parent: header, code, silent, number }) => {
  if (type === 'interrupt') return evaluator.interrupt();
  parent = header;
  const outcome = await evaluator.run(code, number);
  if (outcome.error) publish('error', outcome.error);
  else if (outcome.data && !silent) {
    publish('execute_result', { data: outcome.data, metadata: {}, execution_count: number });
  }
  wire.postMessage({ done: id, error: outcome.error });
});
