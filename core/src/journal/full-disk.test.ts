import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createJournalRuntime } from '../index.ts';
import { parcel } from '../testing/parcel.ts';

const isRoot = process.getuid?.() === 0;

test.skipIf(!isRoot)(
  'a full disk stops answers, not the process; with room again everything that waited is done, once',
  async () => {
    const mount = mkdtempSync(join(tmpdir(), 'wrenn-full-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', mount]);
    try {
      const options = {
        dir: join(mount, 'journal'),
        definitions: [parcel],
        handlers: { pack: async () => ({ type: 'PACKED', weight: 1 }) },
        lock: async () => ({ release: () => undefined }),
      };
      const runtime = createJournalRuntime(options);
      await runtime.start();
      const ref = { kind: 'parcel', id: 'a' };
      const cause = { type: 'system' } as const;
      await runtime.ask(ref, { type: 'CREATE' }, { cause });
      try {
        for (;;) writeFileSync(join(mount, 'filler'), Buffer.alloc(65_536), { flag: 'a' });
      } catch (error) {
        expect(error).toMatchObject({ code: 'ENOSPC' });
      }
      let answered = 0;
      const texts = Array.from({ length: 50 }, (_, i) => `${i}-${'x'.repeat(500)}`);
      const asking = texts.map((text) =>
        runtime.ask(ref, { type: 'NOTE', text }, { cause }).then(() => (answered += 1)),
      );
      await new Promise((resolve) => setTimeout(resolve, 600));
      expect(answered).toBe(0);
      rmSync(join(mount, 'filler'));
      await Promise.all(asking);
      expect((await runtime.read(ref))?.context).toMatchObject({ notes: texts });
      await runtime.stop();
      const again = createJournalRuntime(options);
      await again.start();
      expect((await again.read(ref))?.context).toMatchObject({ notes: texts });
      await again.stop();
    } finally {
      execFileSync('umount', ['-l', mount]);
      rmSync(mount, { recursive: true, force: true });
    }
  },
);
