import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { type Api, apiOf, createSandbox } from './testing/api.ts';
import { sharedStack } from './testing/shared-stack.ts';
import { isBuilt, type Stack } from './testing/stack.ts';

// biome-ignore lint/suspicious/noExplicitAny: frames of all shapes
type Frame = any;

/** API11 and MET2 where host and guest are real: what the agent told, and what the VM uses. */
describe.runIf(isBuilt)('inspector and metrics of a real sandbox', () => {
  let stack: Stack;
  let api: Api;
  let id: string;

  beforeAll(async () => {
    stack = await sharedStack();
    api = apiOf(stack);
    id = await createSandbox(api, { labels: { e2e: 'inspector' } });
  });
  afterAll(async () => {
    await api?.('DELETE', `/v1/sandboxes/${id}`);
  });

  async function watch(path: string): Promise<{ socket: WebSocket; frames: Frame[] }> {
    const socket = new WebSocket(`${stack.url.replace('http', 'ws')}${path}`, {
      headers: { 'x-api-key': stack.apiKey },
    });
    const frames: Frame[] = [];
    socket.on('message', (data: Buffer) => frames.push(JSON.parse(data.toString())));
    await once(socket, 'open');
    return { socket, frames };
  }

  test('API11: the create as messages between control plane and host, with latencies', async () => {
    const messages = async () => (await api('GET', `/v1/actors/sandbox/${id}/messages`)).body.items as Frame[];
    await expect
      .poll(async () => (await messages()).map(({ direction, type }) => `${direction} ${type}`))
      .toEqual(['down CREATE', 'up VM_READY']);
    const [command, report] = await messages();
    expect(command).toMatchObject({ from: { kind: 'sandbox', id }, to: { kind: 'vm', id: `${id}.1`, seq: 1 } });
    expect(report).toMatchObject({
      answers: command.id,
      from: { kind: 'vm', id: `${id}.1` },
      to: { kind: 'sandbox', id },
    });
    // Here both clocks are one: the way there and back is what is left of the round trip.
    expect(command.latency_ms).toBeGreaterThanOrEqual(0);
    expect(report.latency_ms).toBeGreaterThanOrEqual(0);
    expect(report.round_trip_ms).toBe(command.latency_ms + report.host_ms + report.latency_ms);
  });

  test('API11: any revision of the host’s actor, and an export with its machine', async () => {
    // The control plane's copy of what the host says may be a moment behind.
    await expect.poll(async () => (await api('GET', `/v1/actors/vm/${id}.1`)).body.path).toBe('ready');
    const { body: vm } = await api('GET', `/v1/actors/vm/${id}.1`);
    const { body: last } = await api('GET', `/v1/actors/vm/${id}.1/revisions/${vm.seq}`);
    expect(last).toMatchObject({ path: 'ready', context: vm.context, last_seq: vm.seq });
    const { body: first } = await api('GET', `/v1/actors/vm/${id}.1/revisions/1`);
    expect(first.entry.event).toMatchObject({ type: 'CREATE' });
    expect(JSON.stringify([first, last])).not.toContain('access_token');
    const { body: file } = await api('GET', `/v1/actors/vm/${id}.1/export`);
    expect(file.machines[file.actor.machine_version].kind).toBe('vm');
    expect(file.journal.length).toBe(vm.seq);
  });

  test('MET2: metrics of a running sandbox, live and of the past', async () => {
    const live = await watch(`/v1/sandboxes/${id}/metrics/stream`);
    const told = () => live.frames.find(({ mem_used_bytes }) => mem_used_bytes !== null);
    await expect.poll(told, { timeout: 20_000 }).toMatchObject({
      type: 'point',
      cpu_used_pct: expect.any(Number),
      mem_total_bytes: expect.any(Number),
      disk_total_bytes: expect.any(Number),
    });
    await expect.poll(() => live.frames.length, { timeout: 20_000 }).toBeGreaterThan(3);
    live.socket.terminate();
    const { body } = await api('GET', `/v1/sandboxes/${id}/metrics?range=10m`);
    expect(body).toMatchObject({ range: '10m', step_ms: 500, vcpus: expect.any(Number) });
    expect(body.points.length).toBeGreaterThan(1);
    const ats = body.points.map(({ at }: Frame) => Date.parse(at));
    expect(ats).toEqual(ats.toSorted((a: number, b: number) => a - b));
    expect((await api('GET', `/v1/sandboxes/${id}/metrics?range=1y`)).status).toBe(400);
    expect((await api('GET', `/v1/sandboxes/sb${'0'.repeat(20)}/metrics`)).status).toBe(404);
  });

  test('API11, MET2: a pause and a resume in the feed; metrics are kept over it', { timeout: 300_000 }, async () => {
    const feed = await watch(`/v1/actors/feed?id=${id}`);
    await expect.poll(() => feed.frames[0]?.type).toBe('hello');
    const live = await watch(`/v1/sandboxes/${id}/metrics/stream`);
    const closed = once(live.socket, 'close');
    const before = (await api('GET', `/v1/sandboxes/${id}/metrics`)).body.points;
    expect((await api('POST', `/v1/sandboxes/${id}/pause`)).status).toBeLessThan(300);
    await closed;
    expect(live.frames.at(-1)).toMatchObject({ type: 'end' });
    const paused = (await api('GET', `/v1/sandboxes/${id}/metrics`)).body.points;
    expect(paused.length).toBeGreaterThanOrEqual(before.length);
    expect((await api('POST', `/v1/sandboxes/${id}/resume`)).status).toBeLessThan(300);
    await expect
      .poll(async () => (await api('GET', `/v1/sandboxes/${id}/metrics`)).body.points.length, { timeout: 20_000 })
      .toBeGreaterThan(paused.length);
    const steps = () => feed.frames.filter(({ kind, outcome }) => kind === 'sandbox' && outcome === 'transition');
    await expect
      .poll(() => steps().map(({ event }) => event.type))
      .toEqual(expect.arrayContaining(['PAUSE', 'RESUME']));
    await expect.poll(() => feed.frames.some((frame) => frame.id === `${id}.2` && frame.path === 'ready')).toBe(true);
    feed.socket.terminate();
  });

  test('API5: the team’s numbers', async () => {
    const { body } = await api('GET', '/v1/sandboxes/stats?range=5m');
    expect(body.current.running).toBeGreaterThanOrEqual(1);
    expect(body.series.length).toBe(100);
  });
});
