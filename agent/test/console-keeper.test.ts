import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { VmStatus } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AgentProcess, AgentRoot, command, newSandboxId, SPEC } from './agent-process.ts';
import { GuestShell } from './guest-memory.ts';
import { endAgent } from './leaks.ts';

/** One cold boot, and some of the keeper's ten seconds, on a busy machine with two cores. */
const TIMEOUT_MS = 240_000;
const WAIT = { timeout: 60_000 };
const LIMIT_BYTES = 1 << 20;

let root: AgentRoot;
let agent: AgentProcess;

beforeAll(async () => {
  root = await AgentRoot.make({ first: 9270, last: 9274 });
  agent = await AgentProcess.start(root);
}, TIMEOUT_MS);

afterAll(() => endAgent(root, agent), TIMEOUT_MS);

test(
  'a guest that writes to its console without end does not fill the disk, also while no agent runs',
  async () => {
    const sandboxId = newSandboxId();
    const { report } = await agent.client.createSandbox({ command: command(sandboxId), spec: SPEC });
    expect(report?.status).toBe(VmStatus.READY);
    const guest = new GuestShell(() => agent, sandboxId);
    await expect.poll(() => root.isKept(), WAIT).toBe(true);
    await guest.run('nohup sh -c "yes flood > /dev/ttyS0" >/dev/null 2>&1 &', 'root');
    await agent.kill();
    const path = join(root.folder, 'sandboxes', `${sandboxId}.1`, 'console.log');
    const size = async () => (await stat(path)).size;
    await expect.poll(size, WAIT).toBeGreaterThan(LIMIT_BYTES);
    await expect.poll(size, WAIT).toBeLessThan(LIMIT_BYTES);
    const text = await readFile(path, 'latin1'); // what came while it was cut may stand before
    expect(text).toMatch(/^[flood\r\n]*\[cut\]\n/);
    expect(text).toMatch(/\[cut\]\n[\s\S]*flood\r?\n/);

    agent = await AgentProcess.start(root);
    expect((await agent.client.inspectSandbox({ sandboxId })).report?.status).toBe(VmStatus.READY);
    await agent.client.destroySandbox({ command: command(sandboxId) });
    await expect.poll(() => root.isKept(), WAIT).toBe(false); // it ends with the last VM
  },
  TIMEOUT_MS,
);
