/**
 * Runs the benchmarks, one after the other, and prints their results as a table.
 *
 *     node bench/run.ts [part of a name]
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseResultLine, type ResultLine } from './lib/result-line.ts';

const BENCHMARKS = [
  'runtime/transitions.ts',
  'runtime/peers.ts',
  'runtime/memory.ts',
  'runtime/control.ts',
  'snapshots/native.ts',
  'snapshots/snapshots.ts', // needs `make up`, busybox-static and cpio
  'snapshots/freeze.ts', // the same
  'proxy/proxy.ts', // needs wrk and nginx
  'console/feed.ts', // needs chromium
  'create/create.ts', // needs the development stack (`make up`)
];

const wanted = BENCHMARKS.filter((name) => name.includes(process.argv[2] ?? ''));
const results: ResultLine[] = [];
const failed: string[] = [];
for (const name of wanted) {
  console.error(`… ${name}`);
  if ((await runOne(name)) !== 0) failed.push(name);
}
const columns = ['what', 'measured', 'value', 'bar'] as const;
const rows = [{ what: 'what', measured: 'measured', value: 'result', bar: 'bar' }, ...results];
const widths = columns.map((column) => Math.max(...rows.map((row) => row[column].length)));
for (const row of rows)
  console.log(
    columns
      .map((column, i) => row[column].padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd(),
  );
for (const name of failed) console.log(`failed: ${name}`);
process.exitCode = failed.length > 0 ? 1 : 0;

function runOne(name: string): Promise<number | null> {
  const child = spawn(process.execPath, [join(import.meta.dirname, name)], { stdio: ['ignore', 'pipe', 'inherit'] });
  createInterface({ input: child.stdout }).on('line', (line) => {
    const result = parseResultLine(line);
    if (result) results.push(result);
    else console.error(line);
  });
  return new Promise((resolve) => child.on('close', resolve));
}
