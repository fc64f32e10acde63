// Builds the addon: cargo, then the library beside this file as wrenn-addon.node, the memory server as wrenn-faults, and
// the generated files.
//   node native/addon/build.js [--debug] [--check]   (--check: fail where a generated file is not current)
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, renameSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const debug = process.argv.includes('--debug');
const definitions = mkdtempSync(join(tmpdir(), 'wrenn-addon-'));

function run(program, args, env = {}) {
  const { status, error } = spawnSync(program, args, { cwd: here, stdio: 'inherit', env: { ...process.env, ...env } });
  if (error) throw error;
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${status}`);
}

try {
  // The definitions are a by-product of compiling this crate: without a change there would be none.
  const now = new Date();
  utimesSync(join(here, 'src/lib.rs'), now, now);
  run('cargo', ['build', '--lib', '--bins', ...(debug ? [] : ['--release'])], {
    NAPI_TYPE_DEF_TMP_FOLDER: definitions,
  });
  run(process.execPath, ['generate.js', definitions, ...process.argv.filter((argument) => argument === '--check')]);
  const built = join(process.env.CARGO_TARGET_DIR ?? join(here, '../target'), debug ? 'debug' : 'release');
  const put = (from, to) => {
    // Renamed, not written over: a running program has the old one mapped.
    copyFileSync(join(built, from), join(here, `new.${to}`));
    renameSync(join(here, `new.${to}`), join(here, to));
  };
  put('wrenn-faults', 'wrenn-faults');
  put('libwrenn_addon.so', 'wrenn-addon.node');
} finally {
  rmSync(definitions, { recursive: true });
}
