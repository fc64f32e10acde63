import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ConnectError } from '@connectrpc/connect';
import { type VmReport, VmStatus } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AgentProcess, AgentRoot, command, newSandboxId, SPEC } from './agent-process.ts';
import { endAgent, holdings } from './leaks.ts';

/** Two cold boots on a busy machine with two cores. */
const TIMEOUT_MS = 240_000;
/** From commit to SIGKILL: before, during and after each step of a start, whose steps take 10 to 50 ms before the boot. */
const KILL_AFTER_MS = [0, 15, 40, 80, 150];

let root: AgentRoot;
let agent: AgentProcess;

beforeEach(async () => {
  root = await AgentRoot.make({ first: 9210, last: 9219 });
  agent = await AgentProcess.start(root);
}, TIMEOUT_MS);

afterEach(() => endAgent(root, agent), TIMEOUT_MS);

async function create(sandboxId: string): Promise<VmReport> {
  const { report } = await agent.client.createSandbox({ command: command(sandboxId), spec: SPEC });
  if (report?.status !== VmStatus.READY) throw new Error(`not ready: ${report?.code} ${report?.message}`);
  return report;
}

async function echo(sandboxId: string): Promise<string> {
  return Buffer.from((await agent.client.exec({ sandboxId, cmd: 'echo', args: ['alive'] })).stdout).toString();
}

/** The first report of the watch, from now on, that has this status. */
async function untilStatus(sandboxId: string, status: VmStatus): Promise<VmReport> {
  for await (const { item } of agent.client.watchSandboxes({ cursor: 0n }, { signal: AbortSignal.timeout(60_000) })) {
    if (item.case === 'report' && item.value.sandboxId === sandboxId && item.value.status === status) return item.value;
  }
  throw new Error('the watch ended');
}

test(
  'VM3, AG4, AG6: a VM lives through the death and the restart of its agent, and a process in it as well',
  async () => {
    const sandboxId = newSandboxId();
    await create(sandboxId);
    const { vmms } = await holdings(root);
    await agent.client.exec({ sandboxId, cmd: 'sh', args: ['-c', 'sleep 1000 & echo $! > /tmp/pid'] });

    for (const end of ['kill', 'stop'] as const) {
      await agent[end]();
      expect((await holdings(root)).vmms).toEqual(vmms);
      agent = await AgentProcess.start(root);
      expect((await agent.client.inspectSandbox({ sandboxId })).report).toMatchObject({
        status: VmStatus.READY,
        incarnation: 1,
      });
      expect(await echo(sandboxId)).toBe('alive\n');
      const { exitCode } = await agent.client.exec({ sandboxId, cmd: 'sh', args: ['-c', 'kill -0 $(cat /tmp/pid)'] });
      expect(exitCode).toBe(0);
    }
    expect((await holdings(root)).vmms).toEqual(vmms);
    const { report } = await agent.client.destroySandbox({ command: command(sandboxId) });
    expect(report?.status).toBe(VmStatus.GONE);
  },
  TIMEOUT_MS,
);

test(
  'VM3: a VMM that dies is reported and released, also if it dies while no agent runs',
  async () => {
    const first = newSandboxId();
    await create(first);
    const [vmm = 0] = (await holdings(root)).vmms;
    const crashed = untilStatus(first, VmStatus.GONE);
    process.kill(vmm, 'SIGKILL');
    expect(await crashed).toMatchObject({ code: 'vmm_exited', incarnation: 1, key: '' });
    await expect(echo(first)).rejects.toThrow('not running');

    const second = newSandboxId();
    await create(second);
    const [other = 0] = (await holdings(root)).vmms;
    await agent.kill();
    process.kill(other, 'SIGKILL');
    agent = await AgentProcess.start(root);
    expect(await untilStatus(second, VmStatus.GONE)).toMatchObject({ code: 'vmm_exited' });
  },
  TIMEOUT_MS,
);

test(
  'a guest that panics ends its VMM, and its last words are in the report',
  async () => {
    const sandboxId = newSandboxId();
    await create(sandboxId);
    const crashed = untilStatus(sandboxId, VmStatus.GONE);
    const panic = ['-c', 'echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger'];
    await agent.client.exec({ sandboxId, cmd: 'sh', args: panic, user: 'root' }).catch(() => {});
    expect(await crashed).toMatchObject({ code: 'vmm_exited', consoleTail: expect.stringContaining('panic') });
  },
  TIMEOUT_MS,
);

describe('X3: kill −9 of the agent in the middle of a start', () => {
  test.each(KILL_AFTER_MS)(
    'after %i ms',
    async (milliseconds) => {
      const sandboxId = newSandboxId();
      const start = { command: command(sandboxId), spec: SPEC };
      const lost = agent.client.createSandbox(start).catch(() => {});
      await sleep(milliseconds);
      await agent.kill();
      await lost;
      agent = await AgentProcess.start(root);
      // The control plane asks again with the same key.
      const again = agent.client.createSandbox(start);
      if (milliseconds % 80 === 0) {
        expect((await again).report?.status).toBe(VmStatus.READY);
        expect(await echo(sandboxId)).toBe('alive\n');
        expect((await holdings(root)).vmms).toHaveLength(1);
      } else {
        // The destroy may come first: then it makes the grave, and the create is refused.
        const outcome = again.then(
          ({ report }) => report?.status,
          (error: ConnectError) => error.metadata.get('wrenn-error-code'),
        );
        const { report } = await agent.client.destroySandbox({ command: command(sandboxId) });
        expect(report?.status).toBe(VmStatus.GONE);
        expect([VmStatus.GONE, 'incarnation_buried']).toContain(await outcome);
      }
    },
    TIMEOUT_MS,
  );
});

test(
  'two agents on one machine, and two on one folder',
  async () => {
    const other = await AgentRoot.make({ first: 9220, last: 9229 });
    const second = await AgentProcess.start(other);
    try {
      const [a, b] = [newSandboxId(), newSandboxId()];
      await Promise.all([
        create(a),
        second.client.createSandbox({ command: command(b), spec: SPEC }).then(({ report }) => {
          expect(report?.status).toBe(VmStatus.READY);
        }),
      ]);
      await expect(AgentProcess.start(root)).rejects.toThrow('lock');
      await second.kill();
      // NET3: an agent that starts cleans up its own range only.
      await agent.stop();
      agent = await AgentProcess.start(root);
      expect((await holdings(other)).vmms).toHaveLength(1);
      expect(await echo(a)).toBe('alive\n');
    } finally {
      const last = await AgentProcess.start(other);
      expect(await last.terminate()).toBe(1);
      await other.remove();
    }
  },
  TIMEOUT_MS,
);

test(
  'AG6: Terminate destroys every VM and ends the program',
  async () => {
    const sandboxId = newSandboxId();
    await create(sandboxId);
    const ended = once(agent.process, 'exit');
    expect((await agent.client.terminate({})).destroyed).toBe(1);
    expect(await ended).toEqual([0, null]);
    const { slots, ...left } = await holdings(root);
    expect({ ...left, slots }).toEqual({ vmms: [], cgroups: [], mounts: [], folders: [], slots: [] });
    agent = await AgentProcess.start(root);
  },
  TIMEOUT_MS,
);
