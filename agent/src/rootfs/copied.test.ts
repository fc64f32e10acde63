import { mkdir, mkdtemp, open, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dmDiskList } from '@wrenn/addon';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AgentFiles, type SandboxFiles } from '../files.ts';
import { chooseDisks, openStore } from './choose.ts';
import { Images } from './images.ts';
import type { RootfsStore } from './store.ts';

const MIB = 1 << 20;
const SIZE_MB = 16;
const OWNER = 59_001;
const SPEC = { template: 'tiny', sizeMb: SIZE_MB, owner: OWNER };

let agent: AgentFiles;
let store: RootfsStore;

async function makeAgent(): Promise<void> {
  agent = new AgentFiles(await mkdtemp(join(tmpdir(), 'wrenn-copied-')));
  await agent.prepare();
  await writeFile(join(agent.images, 'tiny.ext4'), 'the image');
  await truncate(join(agent.images, 'tiny.ext4'), 8 * MIB);
}

async function folderOf(vmId: string): Promise<SandboxFiles> {
  const files = agent.sandbox(vmId);
  await mkdir(files.folder);
  return files;
}

/** What a guest would read and write, through what its VMM opens. */
async function at(files: SandboxFiles, offset: number, write?: string): Promise<string> {
  const disk = await open(files.at(store.drive(['disk-0', 'disk-1']).name), write === undefined ? 'r' : 'r+');
  try {
    if (write !== undefined) await disk.write(write, offset);
    const { buffer } = await disk.read(Buffer.alloc(9), 0, 9, offset);
    return buffer.toString('latin1');
  } finally {
    await disk.close();
  }
}

const probe = async () => {
  const files = new AgentFiles(await mkdtemp(join(tmpdir(), 'wrenn-probe-')));
  try {
    return await chooseDisks('auto', 'firecracker', files);
  } finally {
    await rm(files.root, { recursive: true });
  }
};
const hasDm = (await probe()) === 'dm';
if (!hasDm)
  console.log('skipped: disks of device-mapper, since this kernel makes none (they are tested by make kvm-host)');

describe.each(['raw', 'dm'] as const)('%s', (kind) => {
  const it = test.skipIf(kind === 'dm' && !hasDm);

  beforeEach(async () => {
    await makeAgent();
    store = openStore(kind, new Images(agent.images), agent.root);
  });

  afterEach(async () => {
    for (const name of await readdir(agent.sandboxes)) await store.remove(agent.sandbox(name));
    if (hasDm) expect(await dmDiskList()).toEqual([]);
    await rm(agent.root, { recursive: true });
  });

  it('FS1–FS4: a disk of its own size over the image, for its VMM alone; frozen, restored elsewhere, removed', async () => {
    const files = await folderOf('sbx.1');
    const disk = await store.create(files, SPEC);
    expect(disk.layers).toEqual(['disk-0', 'disk-1']);
    const { uid, mode } = await stat(disk.path);
    expect([uid, mode & 0o777]).toEqual([OWNER, 0o600]);
    expect(await at(files, 0)).toBe('the image');
    await at(files, (SIZE_MB - 1) * MIB, 'far behin');
    await at(files, 0, 'the guest');
    expect(await store.usedBytes(files)).toBeLessThan(4 * MIB);

    const layers = await store.freeze(files, disk.layers, AbortSignal.timeout(10_000));
    await store.release(files);
    await store.release(files); // released already is fine
    if (kind === 'dm') expect(await dmDiskList()).toEqual([]);
    const next = await folderOf('sbx.2');
    await store.restore(next, { files, layers }, SPEC);
    expect(await at(next, 0)).toBe('the guest');
    await at(next, 4 * MIB, 'later on.');
    // What was frozen is as it was: a start that comes to nothing costs nothing (I2).
    const other = await folderOf('sbx.3');
    await store.restore(other, { files, layers }, SPEC);
    expect(await at(other, 4 * MIB)).toBe('\0'.repeat(9));
    expect(await at(other, (SIZE_MB - 1) * MIB)).toBe('far behin');
    await store.remove(other);
    await store.remove(other);
    expect(await readdir(other.folder)).toEqual([]);
  });

  it('SN10: a branch is the disk at one moment, and the VM goes on in its own', async () => {
    const files = await folderOf('sbx.1');
    const { layers } = await store.create(files, SPEC);
    await at(files, MIB, 'before it');
    const branch = await store.branch(files, layers, SPEC);
    await branch.cut();
    await at(files, MIB, 'after it.');
    expect(branch.going).toEqual(layers);
    const frozen = await store.freeze(files, branch.frozen, AbortSignal.timeout(10_000));
    const child = await folderOf('child.1');
    await store.restore(child, { files, layers: frozen }, SPEC);
    expect([await at(child, MIB), await at(files, MIB)]).toEqual(['before it', 'after it.']);
    await store.settle(files, layers);
    expect((await readdir(files.folder)).filter((name) => name.includes('frozen'))).toEqual([]);
  });

  it('FS2: flattened, it is an image of its own', async () => {
    const files = await folderOf('sbx.1');
    const { layers } = await store.create(files, SPEC);
    await at(files, MIB, 'the guest');
    const frozen = await store.freeze(files, layers, AbortSignal.timeout(10_000));
    const target = join(agent.images, '.flat.new');
    await store.flatten(files, frozen, target, AbortSignal.timeout(30_000));
    const { size, blocks } = await stat(target);
    expect(size).toBe(SIZE_MB * MIB);
    expect(blocks * 512).toBeLessThan(4 * MIB);
    const image = await open(target, 'r');
    const { buffer } = await image.read(Buffer.alloc(9), 0, 9, MIB);
    await image.close();
    expect(buffer.toString()).toBe('the guest');
  });

  it('I5: what nobody owns is given back', async () => {
    const [kept, lost] = [await folderOf('sbx.1'), await folderOf('sbx.2')];
    for (const files of [kept, lost]) await store.create(files, SPEC);
    await rm(lost.folder, { recursive: true });
    await store.releaseOrphans([kept]);
    if (kind === 'dm') expect(await dmDiskList()).toHaveLength(1);
    expect(await at(kept, 0)).toBe('the image');
  });
});

test('FS3: a kind of disk that a VMM cannot give to a guest is refused', async () => {
  await makeAgent();
  await expect(chooseDisks('qcow2', 'firecracker', agent)).rejects.toMatchObject({ code: 'vmm_failed' });
  await expect(chooseDisks('raw', 'qemu', agent)).rejects.toMatchObject({ code: 'vmm_failed' });
  expect(await chooseDisks('auto', 'qemu', agent)).toBe('qcow2');
  if (!hasDm) await expect(chooseDisks('dm', 'qemu', agent)).rejects.toMatchObject({ code: 'vmm_failed' });
  await rm(agent.root, { recursive: true });
});
