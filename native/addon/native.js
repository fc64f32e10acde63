import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const file = fileURLToPath(new URL('wrenn-addon.node', import.meta.url));

/** The compiled addon. It is built from the Rust sources, never committed. */
export const native = load();

function load() {
  try {
    return createRequire(import.meta.url)(file);
  } catch (cause) {
    const why =
      cause instanceof Error && 'code' in cause && cause.code === 'MODULE_NOT_FOUND'
        ? 'is not built'
        : 'cannot be loaded';
    throw new Error(`the native addon ${why} (${file}): run \`make build\``, { cause });
  }
}
