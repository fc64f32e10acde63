/**
 * A crash storm as a program of its own: `node e2e/crash-storm/main.ts [--kills 1000] [--seed N] [--slots 7100-7163]`, as
 * root. Ends with 1 when something was lost, doubled or stuck.
 */
import { parseArgs } from 'node:util';
import { storm } from './storm.ts';

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '1000' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    slots: { type: 'string', default: '7100-7163' },
  },
});
const interrupted = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => interrupted.abort(new Error(name)));
console.log(`seed ${values.seed}`);
const report = await storm({
  kills: Number(values.kills),
  seed: Number(values.seed),
  slots: values.slots,
  say: (line) => console.log(line),
  signal: interrupted.signal,
});
const kills = Object.entries(report.kills).map(([name, count]) => `${count} ${name}`);
const moves = Object.entries(report.moves).map(([name, count]) => `${count} ${name}`);
console.log(`kills: ${kills.join(', ')}; ${report.creates} creates, ${moves.join(', ')}; ${report.seconds} s`);
for (const finding of report.findings) console.log(`FOUND ${finding}`);
console.log(report.findings.length === 0 ? 'nothing lost, doubled or stuck' : `${report.findings.length} findings`);
process.exit(report.findings.length === 0 ? 0 : 1);
