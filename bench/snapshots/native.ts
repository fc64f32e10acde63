/**
 * The native part of snapshots, without VMs: faults served beside a minimal loop that has everything in memory, the
 * comparison of a capture with its chain beside memcmp, and what capturing and writing back take. A second process has
 * 512 MiB mapped privately, as a VMM has.
 *
 *     node bench/snapshots/native.ts
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { resultLine } from '../lib/result-line.ts';

const argv = ['run', '--release', '--quiet', '-p', 'wrenn-addon', '--example', 'snapshots'];
const cwd = new URL('../../native', import.meta.url);
const child = spawn('cargo', argv, { cwd, stdio: ['ignore', 'pipe', 'inherit'] });
const figures = new Map<string, number>();
for await (const line of createInterface({ input: child.stdout })) {
  const [, name, value] = /^(.+) ([\d.]+)$/.exec(line) ?? [];
  if (name && value) figures.set(name, Number(value));
}

function figure(name: string): number {
  const value = figures.get(name);
  if (value === undefined) throw new Error(`the benchmark did not say: ${name}`);
  return value;
}

const served = figure('faults served, pages/s');
const minimal = figure('faults served by a minimal loop from memory, pages/s');
console.log(
  resultLine('userfaultfd, random order', `${served} pages/s; minimal loop ${minimal}`, served / minimal, '>= 0.8'),
);
for (const mib of [12, 64]) {
  const diff = figure(`diff (${mib} MiB), GB/s`);
  const memcmp = figure(`memcmp (${mib} MiB), GB/s`);
  console.log(resultLine(`generation diff, ${mib} MiB`, `${diff} GB/s; memcmp ${memcmp}`, diff / memcmp, 'none'));
  const capture = figure(`capture (${mib} MiB dirty), ms`);
  const memcpy = figure(`memcpy of as much (${mib} MiB), ms`);
  const prepare = figure(`prepare (${mib} MiB dirty), ms`);
  const bar = mib === 12 ? '<= 5 ms, whole freeze' : 'none';
  console.log(
    `capture of ${mib} MiB dirty: prepared in ${prepare} ms before; memcpy ${memcpy} ms, ${capture} ms (bar ${bar})`,
  );
  const publish = figure(`publish (${mib} MiB dirty), ms`);
  const restore = figure(`restore (${mib} MiB dirty), ms`);
  console.log(`write back ${mib} MiB dirty: published in ${publish} ms after, ${restore} ms (bar none)`);
}
