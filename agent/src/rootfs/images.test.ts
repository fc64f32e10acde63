import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { Images } from './images.ts';

const folder = mkdtempSync(join(tmpdir(), 'wrenn-images-'));
afterAll(() => rmSync(folder, { recursive: true }));

test('TPL7: an image says by its manifest which port tells that it is ready', async () => {
  for (const [name, manifest] of [
    ['services', '{"ready_port": 49999}'],
    ['plain', '{"ready_port": null}'],
    ['old', '{"name": "old"}'],
    ['foreign', undefined],
    ['wrong', '{"ready_port": 70000}'],
  ] as const) {
    writeFileSync(join(folder, `${name}.ext4`), '');
    if (manifest !== undefined) writeFileSync(join(folder, `${name}.json`), manifest);
  }
  const images = new Images(folder);
  const ports = await Promise.all(['services', 'plain', 'old', 'foreign'].map((name) => images.readyPort(name)));
  expect(ports).toEqual([49999, null, null, null]);
  await expect(images.readyPort('wrong')).rejects.toThrow();
  await expect(images.readyPort('../x')).rejects.toMatchObject({ code: 'template_not_found' });
});
