import { chmod, link, mkdir, mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AgentFiles, type SandboxFiles } from '../files.ts';
import { runProgram } from '../run-program.ts';
import { Images } from './images.ts';
import { Qcow2Store } from './qcow2.ts';

const MIB = 1 << 20;
const OWNER = 59_000;
const signal = AbortSignal.timeout(20_000);

let agent: AgentFiles;
let files: SandboxFiles;
let store: Qcow2Store;

beforeEach(async () => {
  agent = new AgentFiles(await mkdtemp(join(tmpdir(), 'wrenn-qcow2-')));
  await agent.prepare();
  await writeFile(join(agent.images, 'tiny.ext4'), 'the image');
  await truncate(join(agent.images, 'tiny.ext4'), 8 * MIB);
  files = agent.sandbox('sbx.1');
  await mkdir(files.folder);
  store = new Qcow2Store(new Images(agent.images));
});

afterEach(() => rm(agent.root, { recursive: true }));

const create = (sizeMb: number, template = 'tiny') => store.create(files, { template, sizeMb, owner: OWNER });

test('FS3, FS4: an overlay of the size that was asked for, over the image, for the VMM alone', async () => {
  expect(await create(64)).toEqual({ path: files.at('disk-1'), layers: ['disk-0', 'disk-1'] });
  const info = JSON.parse(await runProgram('qemu-img', ['info', '--output=json', files.at('disk-1')], signal));
  expect(info).toMatchObject({
    'virtual-size': 64 * MIB,
    'backing-filename': 'disk-0',
    'backing-filename-format': 'raw',
  });
  const { uid, mode } = await stat(files.at('disk-1'));
  expect([uid, mode & 0o777]).toEqual([OWNER, 0o600]);
});

test('the disk keeps its version of the image when another one takes its place', async () => {
  await create(8);
  const image = join(agent.images, 'tiny.ext4');
  await writeFile(`${image}.new`, 'another image');
  await rm(image);
  await link(`${image}.new`, image);
  expect((await readFile(files.at('disk-0'), 'latin1')).startsWith('the image')).toBe(true);
});

test('FS6: allocated bytes are reported, not the apparent size; made again and removed again is fine', async () => {
  expect(await store.usedBytes(files)).toBe(0);
  await create(1024);
  await create(1024);
  const used = await store.usedBytes(files);
  expect(used).toBeGreaterThan(0);
  expect(used).toBeLessThan(2 * MIB);
  await store.remove(files);
  await store.remove(files);
  expect(await store.usedBytes(files)).toBe(0);
});

test.each([
  ['tiny', 4, 'disk_too_small'],
  ['other', 8, 'template_not_found'],
  ['../images/tiny', 8, 'template_not_found'],
  ['.hidden', 8, 'template_not_found'],
])('%s with %i MB is refused: %s', async (template, sizeMb, code) => {
  await expect(create(sizeMb, template)).rejects.toMatchObject({ code });
  await chmod(files.folder, 0o700);
});

test.each([8, 20_480, 102_400])('an overlay of %i MB is one that QEMU finds nothing wrong with', async (sizeMb) => {
  await create(sizeMb);
  const [below, above] = [files.at('disk-1'), files.at('disk-2')];
  const branch = await store.branch(files, ['disk-0', 'disk-1'], { owner: OWNER, sizeMb });
  expect(branch).toMatchObject({ frozen: ['disk-0', 'disk-1'], going: ['disk-0', 'disk-1', 'disk-2'] });
  for (const path of [below, above]) await runProgram('qemu-img', ['check', '-q', '-f', 'qcow2', path], signal);
  const info = JSON.parse(await runProgram('qemu-img', ['info', '--output=json', above], signal));
  expect(info).toMatchObject({
    'virtual-size': sizeMb * MIB,
    'backing-filename': 'disk-1',
    'backing-filename-format': 'qcow2',
    'cluster-size': 65_536,
    'dirty-flag': false,
  });
  const read = ['-r', '-f', 'qcow2', '-c', `read -q -P ${'t'.charCodeAt(0)} 0 1`, above];
  await runProgram('qemu-io', read, signal); // the image's first letter, through both layers
  const wrong = ['-r', '-f', 'qcow2', '-c', 'read -q -P 1 0 1', above];
  await expect(runProgram('qemu-io', wrong, signal)).rejects.toThrow();
});

test('SN3: more than eight layers are merged into a new file that holds what they held; the old ones stay', async () => {
  await create(64);
  let layers = ['disk-0', 'disk-1'];
  for (let index = 1; index <= 9; index++) {
    const write = [
      '-c',
      `write -q -P ${index} ${index}M 64k`,
      '-c',
      'write -q -P 200 40M 64k',
      files.at(layers.at(-1) ?? ''),
    ];
    await runProgram('qemu-io', ['-f', 'qcow2', ...write], signal);
    if (index < 9) layers = [...(await store.branch(files, layers, { owner: OWNER, sizeMb: 64 })).going];
  }
  const merged = await store.freeze(files, layers, signal);
  // Whoever starts from them has another user: he must be able to read every one.
  for (const name of layers.slice(1)) {
    const { uid, mode } = await stat(files.at(name));
    expect([uid, mode & 0o777]).toEqual([0, 0o444]);
  }
  expect(merged).toEqual(['disk-0', 'disk-1.merged']);
  for (let index = 1; index <= 9; index++) {
    const reads = ['-c', `read -q -P ${index} ${index}M 64k`, '-c', 'read -q -P 200 40M 64k'];
    await runProgram('qemu-io', ['-r', '-f', 'qcow2', ...reads, files.at('disk-1.merged')], signal);
  }
  expect((await stat(files.at('disk-1.merged'))).mode & 0o777).toBe(0o444);
  for (const name of layers) expect((await stat(files.at(name))).size).toBeGreaterThan(0);

  // It takes the place of the first in the folder of the next start.
  const next = agent.sandbox('sbx.2');
  await mkdir(next.folder);
  await store.restore(next, { files, layers: merged }, { owner: OWNER, sizeMb: 64 });
  await runProgram('qemu-io', ['-r', '-f', 'qcow2', '-c', 'read -q -P 9 9M 64k', next.at('disk-2')], signal);
});
