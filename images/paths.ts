import { join, resolve } from 'node:path';

/** Where a build of the kernel or an image reads and writes. */
export interface BuildPaths {
  /** The agent's root folder. */
  wrennDir: string;
  /** Downloads and the plain Debian system, kept between builds. */
  cache: string;
  envd: string;
  init: string;
}

const CHECKOUT = resolve(import.meta.dirname, '..');

/** Defaults are the development stack's; `WRENN_DIR`, `WRENN_CACHE`, `WRENN_STATIC_BIN` change them. */
export function buildPaths(env: NodeJS.ProcessEnv): BuildPaths {
  const bin = env.WRENN_STATIC_BIN ?? join(CHECKOUT, 'native/target-static/x86_64-unknown-linux-gnu/release');
  return {
    wrennDir: resolve(env.WRENN_DIR ?? join(CHECKOUT, '.wrenn/lib')),
    cache: resolve(env.WRENN_CACHE ?? join(CHECKOUT, '.wrenn/cache')),
    envd: join(bin, 'envd'),
    init: join(bin, 'wrenn-init'),
  };
}
