import { join } from 'node:path';
import { installLibraries } from '../code-interpreter/install.ts';
import type { Recipe } from '../rootfs/recipe.ts';
import { minimal } from './minimal.ts';

const SOURCE = join(import.meta.dirname, '../code-interpreter');

/** TPL7: `minimal`, a Jupyter server with Python, JavaScript and TypeScript kernels, and the execution service. */
export const codeInterpreter: Recipe = {
  name: 'code-interpreter',
  packages: [...minimal.packages, 'python3-pip'],
  sizeBytes: minimal.sizeBytes,
  install: {
    inputs: ['install.ts', 'python', 'javascript/package-lock.json'].map((name) => join(SOURCE, name)),
    run: installLibraries,
  },
  files: [
    { from: join(SOURCE, 'rootfs'), to: '' },
    { from: join(SOURCE, 'service'), to: 'usr/lib/python3/dist-packages' },
    { from: join(SOURCE, 'javascript/kernel'), to: 'opt/wrenn/javascript/kernel' },
  ],
  readyPort: 49999,
};
