/**
 * A KVM host in a box, on any machine: boots a Debian with emulated SVM, runs there the native tests that need
 * device-mapper, KVM or whole control groups, and the agent once as a whole. As root, after `make up` or `make build`:
 *
 *     node e2e/kvm-host/main.ts [--verbose]
 *
 * A few minutes (the first time a few more, for the system's image). The console is shown when something fails.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { STATE_DIR } from '../../scripts/lib/checkout.ts';
import { runBox } from './box.ts';
import { makePayload, nativeTests } from './payload.ts';
import { boxSystem } from './root-image.ts';

const TESTS = ['devicemapper', 'storage', 'processes', 'jail', 'network'];
/** It takes less than ten minutes where nothing else runs; a machine that is busy should get there too. */
const TIMEOUT_MS = 30 * 60_000;

const { values } = parseArgs({ options: { verbose: { type: 'boolean', default: false } } });
const cache = process.env.WRENN_CACHE ?? join(STATE_DIR, 'cache');
const built = process.env.WRENN_DIR ?? join(STATE_DIR, 'lib');
if (!existsSync(join(built, 'images/minimal.json'))) {
  console.error(`${built} has no image yet: run "make build" first`);
  process.exit(2);
}

const console_: string[] = [];
const heard = (line: string) => {
  console_.push(line);
  if (values.verbose || line.startsWith('=== ')) console.log(line);
};
const system = await boxSystem(cache, console.log);
const firecracker = firecrackerBinary();
const folder = mkdtempSync(join(cache, 'kvm-host-run-'));
let code = 1;
try {
  const tests = await nativeTests(TESTS);
  const programs = firecracker === null ? [] : [firecracker];
  const payload = await makePayload({ folder, built, tests, programs });
  code = await runBox({ system, payload, heard, timeoutMs: TIMEOUT_MS });
} catch (error) {
  console.error(error);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
if (code !== 0 && !values.verbose) console.log(`\nThe console of the box:\n${console_.join('\n')}`);
console.log(code === 0 ? 'the box: all passed' : 'the box: FAILED');
process.exit(code);

/** `WRENN_FIRECRACKER_BIN`, or a program of that name in `PATH`. */
function firecrackerBinary(): string | null {
  const named = process.env.WRENN_FIRECRACKER_BIN;
  const places = (process.env.PATH ?? '').split(':').map((folder_) => join(folder_, 'firecracker'));
  return [...(named ? [named] : []), ...places].find((place) => existsSync(place)) ?? null;
}
