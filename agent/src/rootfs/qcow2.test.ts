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

const create = (sizeMb: number, template = 'tiny') => store.create(files, { template, sizeMb, owner: OWNER }, signal);

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
