import { randomBytes } from 'node:crypto';
import { Code, ConnectError } from '@connectrpc/connect';
import { type VmReport, VmStatus } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ACCESS_TOKEN, AgentProcess, AgentRoot, command, newSandboxId, SECRET, SPEC } from './agent-process.ts';
import { descriptors, holdings } from './leaks.ts';

/** One cold boot on a busy machine with two cores. */
const BOOT_TIMEOUT_MS = 150_000;
const WAIT = { timeout: 20_000 };
const decode = (bytes: Uint8Array) => Buffer.from(bytes).toString();

let root: AgentRoot;
let agent: AgentProcess;
const sandboxId = newSandboxId();
const create = command(sandboxId);
let report: VmReport | undefined;

beforeAll(async () => {
  root = await AgentRoot.make({ first: 9200, last: 9209 });
  agent = await AgentProcess.start(root);
  ({ report } = await agent.client.createSandbox({ command: create, spec: SPEC }));
}, BOOT_TIMEOUT_MS);

afterAll(async () => {
  await agent?.terminate();
  await root?.remove();
}, BOOT_TIMEOUT_MS);

const exec = (cmd: string, args: string[] = [], more: { stdin?: Uint8Array; user?: string; timeoutMs?: number } = {}) =>
  agent.client.exec({ sandboxId, incarnation: 1, cmd, args, ...more });

test('AG1, VM6: a create answers with a guest that is ready, and how long each phase took', () => {
  expect(report).toMatchObject({
    sandboxId,
    incarnation: 1,
    status: VmStatus.READY,
    key: create.key,
    guestIp: '169.254.0.21',
  });
  expect(report?.hostIp).toMatch(/^10\.11\./);
  expect(Object.keys(report?.timingsMs ?? {}).sort()).toEqual(
    ['launch', 'load', 'memory', 'queued', 'rootfs', 'slot', 'thaw'], // restored from the template's boot snapshot
  );
});

test('AG1: the same key gets the first answer, and no second VM', async () => {
  const again = await agent.client.createSandbox({ command: create, spec: SPEC });
  expect(again.report).toMatchObject({ status: VmStatus.READY, key: create.key });
  expect((await holdings(root)).vmms).toHaveLength(1);
});

describe('exec', () => {
  test('output, exit code, standard input, environment and users', async () => {
    const both = await exec('sh', ['-c', 'echo out; echo err >&2; exit 3']);
    expect([decode(both.stdout), decode(both.stderr), both.exitCode]).toEqual(['out\n', 'err\n', 3]);
    expect(decode((await exec('cat', [], { stdin: Buffer.from('typed') })).stdout)).toBe('typed');
    expect(decode((await exec('sh', ['-c', 'echo $GREETING; id -un'])).stdout)).toBe('hi\nuser\n');
    expect(decode((await exec('id', ['-u'], { user: 'root' })).stdout)).toBe('0\n');
  });

  test('a large standard input arrives whole', async () => {
    const input = randomBytes(700_000);
    const { stdout } = await exec('sha256sum', [], { stdin: input });
    const { createHash } = await import('node:crypto');
    expect(decode(stdout)).toContain(createHash('sha256').update(input).digest('hex'));
  });

  test('a stream tells the start first, the output as it comes, and the end last', async () => {
    const events: string[] = [];
    const call = { sandboxId, cmd: 'sh', args: ['-c', 'echo one; sleep 0.2; echo two'] };
    for await (const { event } of agent.client.execStream(call)) {
      events.push(event.case === 'stdout' ? decode(event.value) : (event.case ?? ''));
    }
    expect(events).toEqual(['pid', 'one\n', 'two\n', 'exit']);
  });

  test('its lifetime ends it; a missing program and a wrong incarnation are told apart', async () => {
    await expect(exec('sleep', ['30'], { timeoutMs: 500 })).rejects.toMatchObject({ code: Code.DeadlineExceeded });
    await expect(exec('true', [], { user: 'nobody-of-this-name' })).rejects.toMatchObject({
      code: Code.Unauthenticated,
    });
    const missing = await exec('no-such-program').catch((error: ConnectError) => error);
    expect(missing instanceof ConnectError ? missing.code : missing.exitCode).not.toBe(0);
    const other = agent.client.exec({ sandboxId, incarnation: 7, cmd: 'true' });
    await expect(other).rejects.toMatchObject({ code: Code.FailedPrecondition });
    await expect(other.catch((error) => error.metadata.get('wrenn-error-code'))).resolves.toBe('not_running');
  });
});

describe('files', () => {
  test('0 bytes, 1 byte, and parents that are not there yet', async () => {
    for (const text of ['', 'x']) {
      const path = `/home/user/a/b/${text.length}`;
      await agent.client.writeFile({ sandboxId, path, data: Buffer.from(text) });
      expect(decode((await agent.client.readFile({ sandboxId, path })).data)).toBe(text);
    }
    expect(decode((await exec('stat', ['-c', '%U %s', '/home/user/a/b/1'])).stdout)).toBe('user 1\n');
  });

  test('AG2: streams of any size, both ways', async () => {
    const chunk = randomBytes(1 << 20);
    const path = '/home/user/large';
    async function* parts() {
      yield { part: { case: 'start' as const, value: { sandboxId, path } } };
      for (let sent = 0; sent < 24; sent++) yield { part: { case: 'data' as const, value: chunk } };
    }
    expect((await agent.client.writeFileStream(parts())).bytes).toBe(24n << 20n);
    let size = 0;
    for await (const { data } of agent.client.readFileStream({ sandboxId, path })) {
      const at = size % chunk.length;
      if (at + data.length <= chunk.length) expect(chunk.subarray(at, at + data.length).equals(data)).toBe(true);
      size += data.length;
    }
    expect(size).toBe(24 << 20);
  }, 120_000);

  test('a missing file is not found', async () => {
    await expect(agent.client.readFile({ sandboxId, path: '/nowhere' })).rejects.toMatchObject({ code: Code.NotFound });
  });
});

test('FS4: the guest sees the disk that was asked for', async () => {
  const { diskTotalBytes, memTotalBytes, vmmRssBytes } = await agent.client.getSandboxMetrics({ sandboxId });
  expect(Number(diskTotalBytes)).toBeGreaterThan(19 * 2 ** 30);
  expect(Number(memTotalBytes)).toBeGreaterThan(180 * 2 ** 20);
  expect(Number(vmmRssBytes)).toBeGreaterThan(2 ** 20);
});

test('SN8: a ping counts, and an open stream is never idle; SN7: a destroy with a condition is refused', async () => {
  await agent.client.pingSandbox({ sandboxId });
  const { idleMs } = await agent.client.pingSandbox({ sandboxId });
  expect(Number(idleMs)).toBeLessThan(5_000);
  const streaming = agent.client.execStream({ sandboxId, cmd: 'sleep', args: ['1'] })[Symbol.asyncIterator]();
  await streaming.next();
  const conditional = agent.client.destroySandbox({ command: command(sandboxId), ifIdleMs: 1n });
  const refused: ConnectError = await conditional.then(
    () => expect.fail('it was destroyed'),
    (error) => error,
  );
  expect(refused.metadata.get('wrenn-error-code')).toBe('active');
  expect(refused.metadata.get('wrenn-idle-ms')).toBe('0');
  while (!(await streaming.next()).done);
});

test('guest access: the control plane reaches envd through the front, with the incarnation checked', async () => {
  const health = (headers: Record<string, string>, id = sandboxId) =>
    fetch(`${agent.url}/guest/${id}/health`, { headers });
  const ours = { 'wrenn-authorization': `Bearer ${SECRET}` };
  expect((await health({ ...ours, 'wrenn-incarnation': '1' })).status).toBe(204);
  const stale = await health({ ...ours, 'wrenn-incarnation': '9' });
  expect([stale.status, stale.headers.get('wrenn-error-code')]).toEqual([409, 'stale_incarnation']);
  expect((await health({ 'wrenn-incarnation': '1' })).status).toBe(401);
  expect((await health({ ...ours, 'wrenn-incarnation': '1' }, newSandboxId())).status).toBe(404);
  const envs = await fetch(`${agent.url}/guest/${sandboxId}/envs`, { headers: { ...ours, 'wrenn-incarnation': '1' } });
  expect(await envs.json()).toMatchObject({ GREETING: 'hi' }); // the front added the access token
});

test('everything but /health is for the control plane', async () => {
  expect(await (await fetch(`${agent.url}/health`)).json()).toEqual({ status: 'ok' });
  const open = await fetch(`${agent.url}/hostagent.v1.HostAgentService/ListSandboxes`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'wrenn-authorization': 'Bearer guess' },
    body: '{}',
  });
  expect(open.status).toBe(401);
});

test('AG1: the watch replays from a cursor, then is live, and shows no secret', async () => {
  const texts: string[] = [];
  const statuses: VmStatus[] = [];
  const ending = new AbortController();
  try {
    for await (const { item } of agent.client.watchSandboxes({ cursor: 0n }, { signal: ending.signal })) {
      if (item.case === 'journalJson') texts.push(item.value);
      if (item.case === 'report') statuses.push(item.value.status);
      if (item.case === 'heartbeat' && item.value.caughtUp) break;
    }
  } finally {
    ending.abort();
  }
  expect(texts.length).toBeGreaterThanOrEqual(6);
  expect(statuses).toContain(VmStatus.READY);
  expect(JSON.parse(texts[0] ?? '')).toMatchObject({ kind: 'vm', event: { type: 'CREATE' } });
  expect(texts.join('')).not.toContain(ACCESS_TOKEN);
  expect(texts.join('')).not.toContain('GREETING');
});

describe('refusals', () => {
  const refusal = (call: Promise<unknown>): Promise<[Code, string | null]> =>
    call.then(
      () => expect.fail('it was accepted'),
      (error: ConnectError) => [error.code, error.metadata.get('wrenn-error-code')],
    );

  test('I1: a stale owner, an overtaken and a buried incarnation', async () => {
    const create = (id: string, incarnation: number, epoch: bigint) =>
      agent.client.createSandbox({ command: command(id, incarnation, epoch), spec: SPEC });
    expect(await refusal(create(sandboxId, 1, 0n))).toEqual([Code.FailedPrecondition, 'stale_epoch']);
    expect(await refusal(create(sandboxId, 2, 1n))).toEqual([Code.FailedPrecondition, 'earlier_incarnation_live']);
    const buried = newSandboxId();
    const { report } = await agent.client.destroySandbox({ command: command(buried, 3) });
    expect(report).toMatchObject({ status: VmStatus.GONE, incarnation: 3 });
    expect(await refusal(create(buried, 3, 1n))).toEqual([Code.FailedPrecondition, 'incarnation_buried']);
    expect(await refusal(create(buried, 2, 1n))).toEqual([Code.FailedPrecondition, 'stale_incarnation']);
    expect((await holdings(root)).vmms).toHaveLength(1);
  });

  test('VM10: what cannot be, and names that are no names', async () => {
    const id = newSandboxId();
    const create = (more: object, id: string) =>
      refusal(agent.client.createSandbox({ command: command(id), spec: { ...SPEC, ...more } }));
    expect(await create({ vcpus: 9 }, id)).toEqual([Code.OutOfRange, 'out_of_range']);
    expect(await create({ memoryMb: 64 }, id)).toEqual([Code.OutOfRange, 'out_of_range']);
    expect(await create({ hostname: 'a b' }, id)).toEqual([Code.InvalidArgument, 'bad_request']);
    expect(await create({}, '../../etc')).toEqual([Code.InvalidArgument, 'invalid_id']);
    expect(await refusal(agent.client.pingSandbox({ sandboxId: id }))).toEqual([Code.NotFound, 'not_found']);
  });

  test('I3: a start that runs out of its time is undone', async () => {
    const id = newSandboxId();
    const late = { ...command(id), budgetMs: 10 };
    const { report } = await agent.client.createSandbox({ command: late, spec: SPEC });
    expect(report).toMatchObject({ status: VmStatus.GONE, code: 'start_timeout', key: late.key });
    const left = await holdings(root);
    expect([left.vmms.length, left.cgroups.length, left.folders.length]).toEqual([1, 1, 1]);
  }, 60_000);

  test.each([
    ['no-such-template', SPEC.diskSizeMb, 'template_not_found'],
    ['../minimal', SPEC.diskSizeMb, 'template_not_found'],
    ['minimal', 100, 'disk_too_small'],
  ])('a start that fails (%s, %i MB) is reported, and leaves nothing', async (template, diskSizeMb, code) => {
    const before = await holdings(root);
    const id = newSandboxId();
    const first = command(id);
    const { report } = await agent.client.createSandbox({ command: first, spec: { ...SPEC, template, diskSizeMb } });
    expect(report).toMatchObject({ status: VmStatus.GONE, code, key: first.key });
    const again = await agent.client.createSandbox({ command: first, spec: { ...SPEC, template, diskSizeMb } });
    expect(again.report).toMatchObject({ status: VmStatus.GONE, code });
    expect((await holdings(root)).folders).toEqual(before.folders);
  });
});

test('destroy leaves nothing, twice is the same, and calls into it are refused', async () => {
  const pid = agent.process.pid ?? 0;
  const destroy = command(sandboxId);
  const { report } = await agent.client.destroySandbox({ command: destroy });
  expect(report).toMatchObject({ status: VmStatus.GONE, key: destroy.key });
  expect((await agent.client.destroySandbox({ command: destroy })).report?.status).toBe(VmStatus.GONE);
  expect((await agent.client.destroySandbox({ command: command(sandboxId) })).report?.status).toBe(VmStatus.GONE);
  await expect(exec('true')).rejects.toMatchObject({ code: Code.FailedPrecondition });
  expect((await agent.client.inspectSandbox({ sandboxId })).report?.status).toBe(VmStatus.GONE);
  const { slots, ...left } = await holdings(root);
  expect(left).toEqual({ vmms: [], cgroups: [], mounts: [], folders: [] });
  await expect.poll(async () => (await holdings(root)).slots.length, WAIT).toBe(1); // the pool's
  expect((await descriptors(pid)).filter((target) => target.includes('/sandboxes/'))).toEqual([]);
});
