import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { STATE_DIR } from '../../scripts/lib/checkout.ts';

const IMAGES = resolve(process.env.WRENN_DIR ?? join(STATE_DIR, 'lib'), 'images');

/** The image `code-interpreter`, which is built on demand: null where nobody has. */
export const interpreterImage = existsSync(join(IMAGES, 'code-interpreter.json'))
  ? join(IMAGES, 'code-interpreter.ext4')
  : null;

/** Printed once per file of tests that need it. */
export function sayWhySkipped(file: string): void {
  if (interpreterImage === null) console.log(`${file}: skipped, there is no image: make image-code-interpreter`);
}
