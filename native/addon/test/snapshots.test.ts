import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { link, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  basePublish,
  dmDiskStatus,
  generationInfo,
  generationsFlatten,
  generationsMerge,
  generationVerify,
  memoryCapture,
  memoryPrepare,
  memoryRestore,
  probeKernel,
  processStat,
  uffdListen,
} from '../index.js';

const MIB = 1 << 20;
const MEMORY = 32 * MIB;
const page = (fill: number) => Buffer.alloc(4096, fill);

/** QEMU without a machine: it maps its memory as for a clone, and does nothing. We are its guest. */
async function waitingVmm(base: string) {
  const backend = `memory-backend-file,id=m,size=${MEMORY},mem-path=${base},share=off,readonly=on,rom=off`;
  const argv = ['-M', 'none', '-nodefaults', '-display', 'none', '-monitor', 'stdio', '-object', backend];
  const child: ChildProcess = spawn('qemu-system-x86_64', argv, { stdio: ['pipe', 'pipe', 'inherit'] });
  if (child.stdout && child.pid) await once(child.stdout, 'data');
  const pid = child.pid ?? 0;
  const maps = readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n');
  const start = maps.find((line) => line.endsWith(base))?.split('-')[0];
  const memory = openSync(`/proc/${pid}/mem`, 'r+');
  const address = (offset: number) => BigInt(`0x${start}`) + BigInt(offset);
  return {
    pid,
    startTime: (await processStat(pid))?.startTime ?? 0,
    path: base,
    write: (offset: number, bytes: Buffer) =>
      // An address below 2^47 is exact in a number.
      writeSync(memory, bytes, 0, bytes.length, Number(address(offset))),
    read: (offset: number, length: number) => {
      const bytes = Buffer.alloc(length);
      readSync(memory, bytes, 0, length, address(offset));
      return bytes;
    },
    async end() {
      closeSync(memory);
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}

describe('memory snapshots as the agent uses them', () => {
  let dir: string;
  let base: string;
  beforeAll(async () => {
    dir = await mkdtemp('/var/tmp/wrenn-snapshots-');
    const memory = Buffer.alloc(MEMORY);
    memory.fill(1, 0, MIB);
    await writeFile(join(dir, 'memory'), memory);
    const info = await basePublish({ file: join(dir, 'memory'), memoryBytes: MEMORY, dir, name: 'base.mem' });
    expect(info).toMatchObject({ path: join(dir, 'base.mem'), generation: 0, memoryBytes: MEMORY, dataBytes: MIB });
    base = info.path;
  });
  afterAll(() => rm(dir, { recursive: true }));

  it('pauses and resumes: only what changed is stored, zeroed pages stay zero (SN2, SN3, SN4, SN14)', async () => {
    const first = await waitingVmm(base);
    first.write(0, page(2)); // over the base
    first.write(5 * MIB, page(3)); // over zeros
    first.write(4096, page(0)); // zeroed
    first.write(8192, page(1)); // touched, the same
    const prepared = await memoryPrepare(first);
    expect(prepared).toMatchObject({ memoryBytes: MEMORY, dirtyBytes: 4 * 4096 });
    first.write(9 * MIB, page(4)); // between preparing and capturing
    const capture = await prepared.capture();
    prepared.close();
    await first.end();
    const one = await capture.publish({ chain: [base], dir, name: '1.gen' });
    capture.close();
    expect(one).toMatchObject({
      generation: 1,
      dataBytes: 3 * 4096,
      unchangedBytes: 4096,
      zeroedBytes: 4096,
      mergeDue: false,
    });
    await expect(capture.publish({ chain: [base], dir, name: '1.gen' })).rejects.toMatchObject({
      code: 'invalid_argument',
    });

    const alias = join(dir, 'alias.mem');
    await link(base, alias);
    const second = await waitingVmm(alias);
    const chain = [base, one.path];
    expect(await memoryRestore({ ...second, chain })).toBe(4 * 4096);
    for (const [offset, fill] of [
      [0, 2],
      [4096, 0],
      [8192, 1],
      [5 * MIB, 3],
      [9 * MIB, 4],
      [20 * MIB, 0],
    ] as const)
      expect(second.read(offset, 4096).equals(page(fill)), `memory at ${offset}`).toBe(true);
    second.write(5 * MIB, page(0));
    const again = await memoryCapture(second);
    const two = await again.publish({ chain, dir, name: '2.gen' });
    expect(two).toMatchObject({ generation: 2, dataBytes: 0, unchangedBytes: 3 * 4096, zeroedBytes: 4096 });

    const merged = await generationsMerge({ chain: [...chain, two.path], dir, name: 'merged.gen' });
    expect(merged).toMatchObject({ generation: 2, dataBytes: 2 * 4096 });
    const flat = await generationsFlatten({ chain: [base, merged.path], dir, name: 'flat.mem' });
    expect(flat).toMatchObject({ generation: 0, dataBytes: MIB + 4096 - 4096 });
    const same = await again.publishFlat({ chain, dir, name: 'other.mem' });
    const [whole, other] = await Promise.all([readFile(flat.path), readFile(same.path)]);
    expect(whole.subarray(0, MEMORY).equals(other.subarray(0, MEMORY))).toBe(true);
    expect(second.read(0, MEMORY).equals(whole.subarray(0, MEMORY))).toBe(true);
    again.close();
    await second.end();
    for (const path of [base, one.path, two.path, merged.path, flat.path])
      expect(await generationVerify(path)).toEqual(await generationInfo(path));
    expect((await stat(flat.path)).mode & 0o777).toBe(0o444);
    expect((await readdir(dir)).filter((name) => name.endsWith('.part'))).toEqual([]);
  });

  it('says what is wrong (SN5)', async () => {
    const vmm = await waitingVmm(base);
    vmm.write(0, page(9));
    const capture = await memoryCapture(vmm);
    const { path } = await capture.publish({ chain: [base], dir, name: 'bad.gen' });
    const bytes = await readFile(path);
    bytes.writeUInt8(0, bytes.indexOf(page(9)) + 17);
    await rm(path);
    await writeFile(path, bytes);
    const damaged = { code: 'snapshot_damaged' };
    await expect(generationVerify(path)).rejects.toMatchObject(damaged);
    await expect(memoryRestore({ ...vmm, chain: [base, path] })).rejects.toMatchObject(damaged);
    await expect(generationsMerge({ chain: [base, path], dir, name: 'x' })).rejects.toMatchObject(damaged);
    await expect(generationVerify(join(dir, 'none'))).rejects.toMatchObject(damaged);
    await expect(memoryPrepare({ ...vmm, path })).rejects.toMatchObject({ code: 'invalid_argument' });
    await expect(capture.publish({ chain: [base], dir, name: '../x' })).rejects.toMatchObject({
      code: 'invalid_argument',
    });
    const prepared = await memoryPrepare(vmm);
    await vmm.end();
    await expect(prepared.capture()).rejects.toMatchObject({ code: 'process_gone' });
    await expect(memoryPrepare(vmm)).rejects.toMatchObject({ code: 'process_gone' });
    await expect(memoryRestore({ ...vmm, chain: [base] })).rejects.toMatchObject({ code: 'process_gone' });
  });

  it('serves faults to its VMM only, and ends with it (SN6)', async () => {
    const vmm = await waitingVmm(base);
    const socket = join(dir, 'uffd.sock');
    const spec = { ...vmm, socket, uid: 0, chain: [base] };
    const server = await uffdListen(spec);
    expect(server.stats()).toEqual({ faults: 0, zeros: 0, prefetched: 0, removedBytes: 0 });
    const stranger = connect(socket);
    await once(stranger, 'end');
    stranger.destroy();
    expect(await server.saveWorkingSet(dir, 'working-set')).toBe(0);
    server.close();
    expect(await server.ended()).toEqual({ reason: 'closed', code: null, message: null });
    const again = await uffdListen({ ...spec, workingSet: join(dir, 'working-set') });
    await vmm.end();
    expect(await again.ended()).toEqual({ reason: 'vm_ended', code: null, message: null });
    await expect(uffdListen(spec)).rejects.toMatchObject({ code: 'process_gone' });
  });

  it('knows device-mapper where there is one (FS1)', async () => {
    const { deviceMapper } = await probeKernel();
    if (deviceMapper.works) expect(await dmDiskStatus('no-such-disk')).toBeNull();
    else await expect(dmDiskStatus('no-such-disk')).rejects.toMatchObject({ code: 'not_found' });
    await expect(dmDiskStatus('../x')).rejects.toMatchObject({ code: 'invalid_argument' });
  });
});
