/**
 * Freeze, pause, resume, create from a template and fork, at the agent's service with real VMs, against the same by hand
 * (`qemu_private_clone.py`, a guest of its own that needs no network) and one health request to envd in a guest of ours that
 * was restored by hand. Needs kernel and images of `make up`, root, and what that script needs: busybox-static and cpio; its
 * kernel is the one that `make up` fetched.
 *
 *     node bench/snapshots/snapshots.ts [runs]
 */
import { join } from 'node:path';
import { processStat } from '@wrenn/addon';
import { AgentProcess, AgentRoot, command, newSandboxId, SPEC } from '../../agent/test/agent-process.ts';
import { holdings } from '../../agent/test/leaks.ts';
import { STATE_DIR } from '../../scripts/lib/checkout.ts';
import { type BareRestore, BareVmm } from '../lib/bare-vmm.ts';
import { resultLine } from '../lib/result-line.ts';
import { median, percentile } from '../lib/statistics.ts';
import { bareScript } from './bare-script.ts';

const runs = Number(process.argv[2] ?? 10);
const AT_ONCE = 10;
const CHILDREN = 20;
const SLOTS = { first: 9200, last: 9249 };
const spec = { ...SPEC, memoryMb: 512 };

const ms = (value: number) => `${value.toFixed(1)} ms`;
const pooled = await bareScript('pooled');
const chain = await bareScript('chain');
const branch = await bareScript('branch');
const barePause = (await bareScript('pause')).of('pause: all of it');
const bareFork = Number(/5 children running after ([\d.]+)/.exec(branch.text)?.[1] ?? Number.NaN) / 5;

/**
 * Medians of restores by hand: of one health request right after it (the load of the devices is part of the bare script's
 * times), and of what the VMM has for itself then.
 */
async function restoredByHand(): Promise<{ healthMs: number; privateBytes: number }> {
  const vmm = await BareVmm.prepare(join(STATE_DIR, 'lib'));
  try {
    const template = await vmm.template();
    const restored: BareRestore[] = [];
    for (let i = 0; i < runs; i++) restored.push(await vmm.restore(template));
    await vmm.remove(template);
    return {
      healthMs: median(restored.map(({ healthMs }) => healthMs)),
      privateBytes: median(restored.map(({ privateBytes }) => privateBytes)),
    };
  } finally {
    await vmm.release();
  }
}
const { healthMs: bareHealth, privateBytes: barePrivate } = await restoredByHand();

const root = await AgentRoot.make(SLOTS);
let agent = await AgentProcess.start(root, { WRENN_SLOT_POOL: '4' });
const start = async (snapshotId = '') => {
  const sandboxId = newSandboxId();
  const from = performance.now();
  const { report } = await agent.client.createSandbox({ command: command(sandboxId), spec, snapshotId });
  if (report?.code) throw new Error(`${report.code}: ${report.message}`);
  const created = performance.now() - from;
  await agent.client.exec({ sandboxId, cmd: '/bin/true' });
  return { sandboxId, created, first: performance.now() - from };
};
const destroy = (sandboxId: string, incarnation = 1) =>
  agent.client.destroySandbox({ command: command(sandboxId, incarnation) });

try {
  await destroy((await start()).sandboxId); // the boot snapshot
  const own: number[] = [];
  const pauses: number[] = [];
  const freezes: number[] = [];
  const resumes: number[] = [];
  for (let i = 0; i < runs; i++) {
    const { sandboxId, first } = await start();
    own.push(first);
    let from = performance.now();
    const { report } = await agent.client.pauseSandbox({ command: command(sandboxId) });
    pauses.push(performance.now() - from);
    freezes.push(report?.snapshot?.freezeMs ?? Number.NaN);
    from = performance.now();
    await agent.client.resumeSandbox({ command: command(sandboxId, 2), spec, fromIncarnation: 1 });
    await agent.client.exec({ sandboxId, cmd: '/bin/true' });
    resumes.push(performance.now() - from);
    await destroy(sandboxId, 2);
  }
  const began = performance.now();
  const burst = await Promise.all(Array.from({ length: AT_ONCE }, () => start()));
  const burstMs = performance.now() - began;
  const idle = await Promise.all((await holdings(root)).vmms.map((pid) => processStat(pid)));
  const privateBytes = median(idle.map((stat) => stat?.privateBytes ?? Number.NaN));
  const [parent] = burst;
  if (parent === undefined) throw new Error('no sandbox');
  for (const { sandboxId } of burst.slice(1)) await destroy(sandboxId);
  const forked = performance.now();
  const call = { command: command(parent.sandboxId), snapshotId: 'bench', children: CHILDREN };
  const { snapshot } = await agent.client.forkSandbox(call);
  await Promise.all(Array.from({ length: CHILDREN }, () => start('bench')));
  const perChild = (performance.now() - forked) / CHILDREN;
  await agent.terminate();

  agent = await AgentProcess.start(root, { WRENN_SLOT_POOL: '4', WRENN_WARM_POOL: 'minimal=1', WRENN_VMM_POOL: '0' });
  const warm: number[] = [];
  const accepted: number[] = [];
  for (let i = 0; i < runs; i++) {
    await untilParked();
    const { sandboxId, created, first } = await start();
    warm.push(first);
    accepted.push(created);
    await destroy(sandboxId);
  }

  const p = (values: number[]) => `p50 ${ms(median(values))}, p99 ${ms(percentile(values, 0.99))}`;
  /** `script`: what the bare script took for the same. */
  const answered = (what: string, ours: string, value: number, script: number) =>
    console.log(
      resultLine(
        what,
        `${ours}; by hand ${ms(script)} (${(value / script).toFixed(2)}) and ${ms(bareHealth)} for a health request`,
        value / (script + bareHealth),
        '<= 1.3',
      ),
    );
  const bareFirst = pooled.of('VMM start') + pooled.of('load to first output');
  answered('create to first exec, own VMM', p(own), median(own), bareFirst);
  answered('create to first exec, warm VM', `${p(warm)} (ready ${p(accepted)})`, median(warm), bareFirst);
  console.log(
    `create to first exec, ${AT_ONCE} at once: all ${ms(burstMs)}, each p50 ${ms(median(burst.map(({ first }) => first)))} (bar none)`,
  );
  const bareFreeze = chain.of('freeze') + chain.of('scan + read');
  console.log(
    resultLine(
      'freeze at a pause: vCPUs stand still',
      `${p(freezes)}; by hand ${ms(bareFreeze)}`,
      median(freezes) / bareFreeze,
      '<= 1.3',
    ),
  );
  console.log(
    resultLine(
      'pause until everything is released',
      `${p(pauses)}; by hand ${ms(barePause)}, which has no network to give back`,
      median(pauses) / barePause,
      '<= 1.3',
    ),
  );
  const bareResume = pooled.of('VMM start') + chain.of('write dirty') + pooled.of('load to first output');
  answered('resume to first exec', p(resumes), median(resumes), bareResume);
  const freeze = `freeze ${ms(snapshot?.freezeMs ?? Number.NaN)}`;
  answered(`fork x ${CHILDREN}, per child to first exec`, `${ms(perChild)} (${freeze})`, perChild, bareFork);
  const mb = (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MB`;
  console.log(
    resultLine(
      'private memory of a VM after its first command',
      `${mb(privateBytes)}; by hand ${mb(barePrivate)}`,
      privateBytes / barePrivate,
      '<= bare + 2 MB',
    ),
  );
} finally {
  await agent.terminate();
  await root.remove();
}

/** Until the pool's VM is parked, which the agent's metrics tell. */
async function untilParked(): Promise<void> {
  for (;;) {
    const metrics = await (await fetch(`${agent.url}/metrics`)).text();
    if (/^wrenn_agent_vms\{status="ready",purpose="other"\} 1$/m.test(metrics)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
