import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Code } from '@connectrpc/connect';
import type { MetricsPoint } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AgentProcess, AgentRoot, command, newSandboxId, SPEC } from './agent-process.ts';

/** One cold boot on a busy machine with two cores. */
const BOOT_TIMEOUT_MS = 150_000;

let root: AgentRoot;
let agent: AgentProcess;
const sandboxId = newSandboxId();

beforeAll(async () => {
  root = await AgentRoot.make({ first: 9300, last: 9309 });
  agent = await AgentProcess.start(root);
  await agent.client.createSandbox({ command: command(sandboxId), spec: SPEC });
}, BOOT_TIMEOUT_MS);

afterAll(async () => {
  await agent?.terminate();
  await root?.remove();
}, BOOT_TIMEOUT_MS);

const past = (rangeSec: number, id = sandboxId) => agent.client.getSandboxMetrics({ sandboxId: id, rangeSec });
const files = () => readdir(join(root.folder, 'metrics'));

/** Reads the live samples until one is as wanted. */
async function sampleWhere(wanted: (point: MetricsPoint) => boolean): Promise<MetricsPoint> {
  const stop = new AbortController();
  for await (const point of agent.client.watchSandboxMetrics({ sandboxId }, { signal: stop.signal })) {
    if (!wanted(point)) continue;
    stop.abort();
    return point;
  }
  throw new Error('the samples ended');
}

test('MET2: a live VM is sampled: its VMM by the host, memory and disk by the guest', async () => {
  const point = await sampleWhere(({ memUsedBytes }) => memUsedBytes !== undefined);
  expect(point.ageMs).toBe(0n);
  expect(Number(point.vmmRssBytes)).toBeGreaterThan(16 << 20);
  expect(Number(point.memTotalBytes)).toBeGreaterThan(128 << 20);
  expect(Number(point.memTotalBytes)).toBeLessThanOrEqual(256 << 20);
  expect(Number(point.memUsedBytes)).toBeLessThan(Number(point.memTotalBytes));
  expect(Number(point.diskUsedBytes)).toBeLessThan(Number(point.diskTotalBytes));
  const { points, stepMs } = await past(600);
  expect(stepMs).toBe(500);
  expect(points.at(-1)?.memTotalBytes).toBe(point.memTotalBytes);
  const ages = points.map(({ ageMs }) => Number(ageMs));
  expect(ages).toEqual(ages.toSorted((a, b) => b - a));
});

test('MET2: /metrics of the agent', async () => {
  await sampleWhere(() => true);
  const response = await fetch(`${agent.url}/metrics`);
  expect([response.status, response.headers.get('content-type')]).toEqual([200, expect.stringContaining('0.0.4')]);
  const text = await response.text();
  expect(text).toContain('wrenn_agent_vms{status="ready",purpose="sandbox"} 1\n');
  expect(text).toContain('wrenn_agent_vms_sampled 1\n');
  expect(Number(/^wrenn_agent_vmm_resident_bytes (\d+)$/m.exec(text)?.[1])).toBeGreaterThan(16 << 20);
  expect(text).not.toContain(sandboxId);
});

test('MET2: CPU follows what the guest does', async () => {
  const busy = agent.client.exec({ sandboxId, cmd: 'sh', args: ['-c', 'while :; do :; done'] });
  const ended = busy.catch(() => undefined);
  const point = await sampleWhere(({ cpuUsedPct }) => cpuUsedPct > 40);
  expect(point.cpuUsedPct).toBeLessThanOrEqual(100);
  await agent.client.exec({ sandboxId, cmd: 'pkill', args: ['-f', 'while'], user: 'root' });
  await ended;
});

test('MET2, SN8: sampling is no activity', async () => {
  const { idleMs: before } = await agent.client.pingSandbox({ sandboxId });
  expect(before).toBeGreaterThanOrEqual(0n);
  const first = performance.now();
  for (let samples = 0; samples < 12; samples += 1) await sampleWhere(() => true); // more than one question to the guest
  await past(600);
  const { idleMs } = await agent.client.pingSandbox({ sandboxId });
  expect(Number(idleMs)).toBeGreaterThanOrEqual(Math.floor(performance.now() - first) - 1_000);
});

test('MET2: the past outlives a restart of the agent', async () => {
  const before = await past(600);
  await agent.stop();
  expect(await files()).toEqual([sandboxId]);
  agent = await AgentProcess.start(root);
  await sampleWhere(() => true);
  const after = await past(600);
  expect(after.points.length).toBeGreaterThan(before.points.length);
  expect((await past(7_200)).points.length).toBeGreaterThan(0);
  expect((await past(86_400)).stepMs).toBe(300_000);
});

test('MET2: an unknown range or sandbox is refused', async () => {
  await expect(past(601)).rejects.toMatchObject({ code: Code.InvalidArgument });
  await expect(past(600, newSandboxId())).rejects.toMatchObject({ code: Code.NotFound });
  await expect(past(600, '../../etc/passwd')).rejects.toMatchObject({ code: Code.InvalidArgument });
});

test('MET2: it goes with the sandbox, and whoever watches is told the end', async () => {
  const seen: MetricsPoint[] = [];
  const watching = (async () => {
    for await (const point of agent.client.watchSandboxMetrics({ sandboxId })) seen.push(point);
  })();
  await expect.poll(() => seen.length).toBeGreaterThan(0);
  await agent.client.destroySandbox({ command: command(sandboxId) });
  await watching;
  await expect.poll(files).toEqual([]);
  await expect(past(600)).rejects.toMatchObject({ code: Code.NotFound });
});
