/**
 * create → first exec answered through Wrenn against a cold boot by hand, in turn: of a size that was started before, which
 * begins with its boot snapshot, and of a new size, which is booted, snapshotted and restored. And the round trip of an
 * exec. Needs the development stack (`make up`), whose settings it reads from .wrenn/dev.env.
 *
 *     node bench/create/create.ts [runs]
 */
import { join } from 'node:path';
import { Sandbox } from '@wrenn/sdk';
import { BareVmm } from '../lib/bare-vmm.ts';
import { resultLine } from '../lib/result-line.ts';
import { median, percentile } from '../lib/statistics.ts';

const runs = Number(process.argv[2] ?? 7);
const EXECS = 200;
const root = join(import.meta.dirname, '../..');
process.loadEnvFile(join(root, '.wrenn/dev.env'));

/** A size class that no create had before: the boot snapshot of another one does not fit. */
const newSize = () => 400 + Math.floor(Math.random() * 4_000);

const bareFirst: number[] = [];
const coldFirst: number[] = [];
const wrennCreate: number[] = [];
const wrennFirst: number[] = [];
const trips: number[] = [];
const bare = await BareVmm.prepare(join(root, '.wrenn/lib'));
try {
  for (let run = 0; run <= runs; run += 1) {
    const { firstExecMs } = await bare.start();
    const began = performance.now();
    const cold = await Sandbox.create({ diskSizeMb: 20_480 + newSize() });
    await cold.commands.run('/bin/true');
    const coldMs = performance.now() - began;
    await cold.kill();
    const started = performance.now();
    const sandbox = await Sandbox.create();
    const createdMs = performance.now() - started;
    await sandbox.commands.run('/bin/true');
    const firstMs = performance.now() - started;
    if (run === runs) {
      for (let i = 0; i < EXECS; i += 1) {
        const from = performance.now();
        await sandbox.commands.run('/bin/true');
        trips.push(performance.now() - from);
      }
    }
    await sandbox.kill();
    if (run === 0) continue; // the first fills the page cache of both
    bareFirst.push(firstExecMs);
    coldFirst.push(coldMs);
    wrennCreate.push(createdMs);
    wrennFirst.push(firstMs);
  }
} finally {
  await bare.release();
}
const ms = (value: number) => `${value.toFixed(0)} ms`;
console.log(
  resultLine(
    `create to first exec, first of its size, p50 of ${runs}`,
    `wrenn ${ms(median(coldFirst))}; cold boot by hand ${ms(median(bareFirst))}`,
    median(coldFirst) / median(bareFirst),
    '<= 1.3',
  ),
);
console.log(
  resultLine(
    `create to first exec, from its boot snapshot, p50 of ${runs}`,
    `wrenn ${ms(median(wrennFirst))} (created after ${ms(median(wrennCreate))}); cold boot by hand ${ms(median(bareFirst))}`,
    median(wrennFirst) / median(bareFirst),
    '<= 1.3',
  ),
);
console.log(
  `exec round trip p50, ${EXECS} in a row: p99 ${percentile(trips, 0.99).toFixed(1)} ms, ${median(trips).toFixed(1)} ms (bar none)`,
);
