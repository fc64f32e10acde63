import { deepStrictEqual } from 'node:assert';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { basename } from 'node:path';
import { cgroupList, slotList } from '@wrenn/addon';
import type { AgentProcess, AgentRoot } from './agent-process.ts';

/** What the kernel and the disk hold of an agent's VMs (I5). Every list is empty when no VM is there. */
export interface Holdings {
  readonly vmms: number[];
  readonly slots: number[];
  readonly cgroups: string[];
  readonly mounts: string[];
  readonly folders: string[];
}

/** `ready` slots of the pool are not counted: give how many it keeps. */
export async function holdings({ folder, slots }: AgentRoot): Promise<Holdings> {
  const inRange = (name: string) => {
    const index = Number(/^slot-(\d+)$/.exec(name)?.[1]);
    return index >= slots.first && index <= slots.last;
  };
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').map((line) => line.split(' ')[4] ?? '');
  return {
    vmms: await processesOf(folder),
    slots: (await slotList(slots)).map(({ index }) => index),
    cgroups: (await cgroupList()).filter(inRange),
    mounts: mounts.filter((mount) => mount.startsWith(folder) || mount.startsWith('/run/wrenn')),
    folders: await readdir(`${folder}/sandboxes`),
  };
}

/** The end of a test file: its VMs are destroyed, and nothing is left of them. What was never started is undefined. */
export async function endAgent(root: AgentRoot | undefined, agent: AgentProcess | undefined): Promise<void> {
  if (root === undefined) return;
  await agent?.terminate();
  const { slots: _, ...left } = await holdings(root);
  await root.remove();
  deepStrictEqual(left, { vmms: [], cgroups: [], mounts: [], folders: [] });
}

async function processesOf(folder: string): Promise<number[]> {
  const pids: number[] = [];
  for (const name of await readdir('/proc')) {
    const environment = await readFile(`/proc/${name}/environ`, 'latin1').catch(() => '');
    if (environment.split('\0').includes(`WRENN_ROOT=${folder}`)) pids.push(Number(name));
  }
  return pids;
}

/** Which layers of its disk a VMM has open. */
export async function openLayers(vmm: number): Promise<string[]> {
  const names = (await descriptors(vmm)).map((path) => basename(path));
  return [...new Set(names.filter((name) => name.startsWith('disk-')))].sort();
}

/** Open descriptors of a process, by what they lead to; sockets and anonymous inodes by their kind. */
export async function descriptors(pid: number): Promise<string[]> {
  const found: string[] = [];
  for (const fd of await readdir(`/proc/${pid}/fd`)) {
    const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => null);
    if (target !== null) found.push(target.replace(/:\[\d+\]$/, ''));
  }
  return found.sort();
}
