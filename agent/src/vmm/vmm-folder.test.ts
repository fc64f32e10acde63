import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { processSpawn } from '@wrenn/addon';
import { expect, test } from 'vitest';
import { prepareView, seenByVmm, VMM_ROOT } from './view.ts';
import { keepVmm, vmmCommand } from './vmm-folder.ts';
import { watchProcess } from './vmm-process.ts';

/** Where `ldconfig` is a script, the program is beside it. */
const STATIC = existsSync('/sbin/ldconfig.real') ? '/sbin/ldconfig.real' : '/sbin/ldconfig';

/** In place of a VMM, programs that every machine has: one that needs a loader and libraries, and one that does not. */
test.each([
  { kind: 'with libraries', program: '/usr/bin/env', parts: ['firecracker', 'lib'], sign: 'env (' },
  { kind: 'static', program: STATIC, parts: ['firecracker'], sign: 'ldconfig (' },
])('VM2, SN12: a VMM $kind is kept with all that it needs, and runs where there is nothing else', async (given) => {
  const folder = await mkdtemp(join(tmpdir(), 'wrenn-kept-'));
  try {
    const signal = AbortSignal.timeout(10_000);
    const kept = await keepVmm('firecracker', given.program, folder, signal);
    expect(await keepVmm('firecracker', given.program, folder, signal)).toEqual(kept);
    expect(await readdir(folder)).toEqual([kept.digest]);
    expect((await readdir(kept.path)).sort()).toEqual(given.parts);

    await prepareView();
    const stdout = join(folder, 'said');
    const process = await processSpawn({
      argv: [...(await vmmCommand('firecracker', kept.path)), '--version'],
      root: VMM_ROOT,
      mounts: [{ source: kept.path, target: seenByVmm.vmm, readonly: true }],
      ...{ stdout, stderr: stdout },
    });
    const exit = await new Promise((resolve) => watchProcess(process, resolve));
    const said = await readFile(stdout, 'utf8');
    expect(said).toContain(given.sign);
    expect(exit).toEqual({ code: 0, signal: null });
  } finally {
    await rm(folder, { recursive: true });
  }
});
