import { createHash } from 'node:crypto';
import { FileNotFoundError, FileType, InvalidArgumentError } from 'e2b';
import { describe, expect } from 'vitest';
import { testsOfEnvd } from './bare-envd.ts';

const CHUNK_BYTES = 1 << 20;
const LARGE_CHUNKS = 200;

/** A stream that is made while it is read, with the hash of what it gave. */
function largeStream(): { stream: ReadableStream<Uint8Array>; digest: () => string } {
  const hash = createHash('sha256');
  let index = 0;
  const stream = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (index === LARGE_CHUNKS) return controller.close();
      const chunk = new Uint8Array(CHUNK_BYTES).fill(index++ % 251);
      hash.update(chunk);
      controller.enqueue(chunk);
    },
  });
  return { stream, digest: () => hash.digest('hex') };
}

/** VM8, X1: files through the published SDK. */
describe('files of the published SDK', () => {
  const it = testsOfEnvd();

  it('write and read: 0 bytes, 1 byte, text, bytes, gzip, both upload kinds', async ({ sandbox, dir }) => {
    for (const useOctetStream of [false, true]) {
      for (const text of ['', 'x', 'žluťoučký kůň\n']) {
        const path = `${dir}/made/on/the/way/${useOctetStream}-${text.length}`;
        const info = await sandbox.files.write(path, text, { useOctetStream });
        expect(info).toEqual({ path, name: path.split('/').at(-1), type: 'file' });
        expect(await sandbox.files.read(path)).toBe(text);
        expect(await sandbox.files.read(path, { format: 'bytes' })).toEqual(new TextEncoder().encode(text));
      }
    }
    await sandbox.files.write(`${dir}/zipped`, 'z'.repeat(100_000), { gzip: true });
    expect(await sandbox.files.read(`${dir}/zipped`, { gzip: true })).toBe('z'.repeat(100_000));
    const many = Array.from({ length: 5 }, (_, index) => ({ path: `${dir}/many/${index}`, data: `${index}` }));
    expect((await sandbox.files.writeFiles(many)).map((info) => info.path)).toEqual(many.map((file) => file.path));
    await expect(sandbox.files.read(`${dir}/none`)).rejects.toBeInstanceOf(FileNotFoundError);
    await expect(sandbox.files.read(dir)).rejects.toBeInstanceOf(InvalidArgumentError);
  });

  it(`a stream of ${LARGE_CHUNKS} MiB arrives as it was sent and comes back`, async ({ sandbox, dir }) => {
    const { stream, digest } = largeStream();
    await sandbox.files.write(`${dir}/large`, stream);
    const sent = digest();
    const { stdout } = await sandbox.commands.run(`sha256sum < ${dir}/large`);
    expect(stdout).toBe(`${sent}  -\n`);
    const hash = createHash('sha256');
    const back = await sandbox.files.read(`${dir}/large`, { format: 'stream' });
    for await (const chunk of back) hash.update(chunk);
    expect(hash.digest('hex')).toBe(sent);
  });

  it('list, info, exists, directories, rename and remove', async ({ sandbox, dir }) => {
    expect(await sandbox.files.makeDir(`${dir}/tree/sub`)).toBe(true);
    expect(await sandbox.files.makeDir(`${dir}/tree/sub`)).toBe(false);
    await sandbox.files.write(`${dir}/tree/file`, 'four', { metadata: { kind: 'test' } });
    const flat = await sandbox.files.list(`${dir}/tree`);
    expect(flat.map((entry) => [entry.name, entry.type])).toEqual([
      ['file', FileType.FILE],
      ['sub', FileType.DIR],
    ]);
    await sandbox.files.write(`${dir}/tree/sub/deep`, '');
    const deep = await sandbox.files.list(`${dir}/tree`, { depth: 2 });
    expect(deep.map((entry) => entry.path)).toContain(`${dir}/tree/sub/deep`);

    const info = await sandbox.files.getInfo(`${dir}/tree/file`);
    expect(info).toMatchObject({ size: 4, mode: 0o644, permissions: '-rw-r--r--', owner: 'root', group: 'root' });
    expect(info.metadata).toEqual({ kind: 'test' });
    await sandbox.commands.run(`ln -s file ${dir}/tree/link`);
    expect((await sandbox.files.getInfo(`${dir}/tree/link`)).symlinkTarget).toBe(`${dir}/tree/file`);

    const moved = await sandbox.files.rename(`${dir}/tree/file`, `${dir}/other/moved`);
    expect(moved).toMatchObject({ path: `${dir}/other/moved`, size: 4 });
    expect(await sandbox.files.exists(`${dir}/tree/file`)).toBe(false);
    await sandbox.files.remove(`${dir}/tree`);
    expect(await sandbox.files.exists(`${dir}/tree/sub`)).toBe(false);
    await expect(sandbox.files.list(`${dir}/tree`)).rejects.toBeInstanceOf(FileNotFoundError);
  });

  it('paths lead from the home of their user', async ({ sandbox, dir }) => {
    expect((await sandbox.files.write('relative', 'x')).path).toBe('/root/relative');
    expect(await sandbox.files.read('~/relative')).toBe('x');
    await sandbox.commands.run(`chmod 777 ${dir}`);
    await sandbox.files.write(`${dir}/theirs`, 'x', { user: 'nobody' });
    expect((await sandbox.files.getInfo(`${dir}/theirs`)).owner).toBe('nobody');
  });
});
