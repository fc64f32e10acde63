/**
 * The freeze that a guest sees when it is snapshotted and runs on: the longest gap of a clock loop in it, quiet and with
 * 64 MB of changed memory and 20 MB/s of writes to its disk (design.md §7), against the freeze of a branch by hand
 * (`qemu_private_clone.py branch`). Its own clock stands still with the vCPUs, so that time is added; the guest's processes
 * stand still longer than the vCPUs, since they must be frozen in what children are made of (SN11). Needs what
 * `snapshots.ts` needs.
 *
 *     node bench/snapshots/freeze.ts [runs]
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { AgentProcess, AgentRoot, command, newSandboxId, SPEC } from '../../agent/test/agent-process.ts';
import { resultLine } from '../lib/result-line.ts';
import { median, percentile } from '../lib/statistics.ts';
import { bareScript } from './bare-script.ts';
import { GuestClock } from './guest-clock.ts';

const runs = Number(process.argv[2] ?? 10);
const SLOTS = { first: 9200, last: 9249 };
const PAGE = 4096;
const LOADS = [
  { what: 'idle', heldMb: 0, writesMbPerSecond: 0 },
  { what: '64 MB changed, 20 MB/s written', heldMb: 64, writesMbPerSecond: 20 },
] as const;

/** Milliseconds that a branch by hand takes with so many bytes of changed memory: copying them is in proportion. */
const branch = (await bareScript('branch')).text;
const [, devices, pages, disk, count] =
  /devices ([\d.]+), pages ([\d.]+), disk and continue ([\d.]+)\); (\d+) dirty pages/.exec(branch)?.map(Number) ?? [];
const byHand = (bytes: number) => Number(devices) + (Number(pages) / Number(count)) * (bytes / PAGE) + Number(disk);

const root = await AgentRoot.make(SLOTS);
const agent = await AgentProcess.start(root);
try {
  for (const { what, ...load } of LOADS) {
    const sandboxId = newSandboxId();
    const spec = { ...SPEC, memoryMb: 512 };
    const { report } = await agent.client.createSandbox({ command: command(sandboxId), spec, snapshotId: '' });
    if (report?.code) throw new Error(`${report.code}: ${report.message}`);
    const clock = await GuestClock.start(agent, sandboxId, load);
    const seen: number[] = [];
    const stood: number[] = [];
    const quiet: number[] = [];
    const bytes: number[] = [];
    for (let i = 0; i < runs; i++) {
      quiet.push((await clock.longestGapIn(() => sleep(300))).gap);
      const taken = { command: command(sandboxId), snapshotId: `freeze-${i}` };
      const { gap, outcome } = await clock.longestGapIn(() => agent.client.createSnapshot(taken));
      const frozen = outcome.snapshot?.freezeMs ?? Number.NaN;
      seen.push(gap + frozen);
      stood.push(frozen);
      bytes.push(Number(outcome.snapshot?.memoryBytes ?? 0));
      await agent.client.deleteSnapshot({ snapshotId: taken.snapshotId, epoch: 1n });
    }
    const bare = byHand(median(bytes));
    const p = (values: number[]) =>
      `p50 ${median(values).toFixed(1)} ms, p99 ${percentile(values, 0.99).toFixed(1)} ms`;
    const measured = `${p(seen)} (vCPUs ${p(stood)}; no snapshot: ${p(quiet)}; ${Math.round(median(bytes) / 1e6)} MB stored); by hand ${bare.toFixed(1)} ms`;
    console.log(resultLine(`freeze that the guest sees, ${what}`, measured, median(seen) / bare, '<= 1.3'));
    await agent.client.destroySandbox({ command: command(sandboxId) });
  }
} finally {
  await agent.terminate();
  await root.remove();
}
