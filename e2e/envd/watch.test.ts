import { FileNotFoundError, type FilesystemEvent, FilesystemEventType } from 'e2b';
import { describe, expect } from 'vitest';
import { testsOfEnvd } from './bare-envd.ts';

/** VM7, X1: directory watches through the published SDK. */
describe('watches of the published SDK', () => {
  const it = testsOfEnvd();

  it('a tree tells each kind of change, also in directories that are new', async ({ sandbox, dir }) => {
    const events: FilesystemEvent[] = [];
    const handle = await sandbox.files.watchDir(dir, (event) => void events.push(event), {
      recursive: true,
      includeEntry: true,
    });
    const happened = (type: FilesystemEventType, name: string) =>
      expect.poll(() => events).toContainEqual(expect.objectContaining({ type, name }));
    await sandbox.files.makeDir(`${dir}/new`);
    await happened(FilesystemEventType.CREATE, 'new');
    await sandbox.files.write(`${dir}/new/file`, 'text');
    await happened(FilesystemEventType.CREATE, 'new/file');
    await happened(FilesystemEventType.WRITE, 'new/file');
    await sandbox.commands.run(`chmod 600 ${dir}/new/file`);
    await happened(FilesystemEventType.CHMOD, 'new/file');
    await sandbox.files.rename(`${dir}/new/file`, `${dir}/moved`);
    await happened(FilesystemEventType.RENAME, 'new/file');
    await happened(FilesystemEventType.CREATE, 'moved');
    await sandbox.files.remove(`${dir}/moved`);
    await happened(FilesystemEventType.REMOVE, 'moved');
    const written = events.find((event) => event.type === FilesystemEventType.WRITE);
    expect(written?.entry).toMatchObject({ name: 'file', path: `${dir}/new/file`, size: expect.any(Number) });
    await handle.stop();
  });

  it('what does not exist cannot be watched', async ({ sandbox, dir }) => {
    const watching = sandbox.files.watchDir(`${dir}/none`, () => {});
    await expect(watching).rejects.toBeInstanceOf(FileNotFoundError);
  });
});
