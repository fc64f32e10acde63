// Builds the addon: cargo, then the library beside this file as wrenn-addon.node, and the generated files.
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
  run('cargo', ['build', '--lib', ...(debug ? [] : ['--release'])], { NAPI_TYPE_DEF_TMP_FOLDER: definitions });
  run(process.execPath, ['generate.js', definitions, ...process.argv.filter((argument) => argument === '--check')]);
  // Renamed, not written over: a running program has the old one mapped.
  const library = join(
    process.env.CARGO_TARGET_DIR ?? join(here, '../target'),
    debug ? 'debug' : 'release',
    'libwrenn_addon.so',
  );
  copyFileSync(library, join(here, 'wrenn-addon.new.node'));
  renameSync(join(here, 'wrenn-addon.new.node'), join(here, 'wrenn-addon.node'));
} finally {
  rmSync(definitions, { recursive: true });
}
