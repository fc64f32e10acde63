import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { CHECKOUT } from '../../scripts/lib/checkout.ts';
import { freePort } from '../../scripts/lib/free-port.ts';
import { statusOf } from '../../scripts/lib/run.ts';
import { startTestStack, stopTestStack } from '../testing/stack.ts';
import { makeCertificate } from './certificate.ts';

/**
 * Runs the JavaScript suite of the public E2B SDK in domain mode against a stack of its own (X1): over TLS, by host names,
 * with nothing but environment variables changed. The suite is not ours: put `packages/js-sdk` of its repository beside
 * this checkout (`../E2B/packages/js-sdk`, or name it in E2B_SUITE), with its dependencies installed.
 *
 * `node e2e/e2b/run-suite.ts [filter…]`; `--without-server` tells which tests pass with nobody there.
 */
const SUITE = resolve(process.env.E2B_SUITE ?? join(CHECKOUT, '../E2B/packages/js-sdk'));
/** Two labels: a certificate for `*.localhost` is not trusted for what is below it. */
const DOMAIN = 'e2b.localhost';
/** Apart from those of the tests and of `make up`. */
const SLOTS = '7200-7299';

interface FileResult {
  readonly name: string;
  readonly assertionResults: readonly { readonly title: string; readonly fullName: string; readonly status: string }[];
}

/** Its own projects but the browser's, whose runner is not needed; two files at a time, as small as the machine may be. */
const CONFIG = `
export default {
  test: {
    include: ['tests/**/*.test.ts'],
    exclude: ['tests/runtimes/**', 'tests/bundle/**'],
    isolate: true,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    environment: 'node',
    maxWorkers: 2,
    setupFiles: ['tests/globalFetchFallback.setup.ts'],
  },
};
`;

const args = process.argv.slice(2);
const alone = args.includes('--without-server');
const filters = args.filter((arg) => !arg.startsWith('--'));

if (!existsSync(join(SUITE, 'tests'))) {
  console.error(`There is no suite in ${SUITE}: name its folder in E2B_SUITE.`);
  process.exit(2);
}
const dir = mkdtempSync(join(tmpdir(), 'wrenn-e2b-'));
try {
  const results = await (alone
    ? runSuite({ E2B_DOMAIN: 'localhost:9', E2B_API_KEY: `e2b_${'0'.repeat(32)}` })
    : runLive());
  print(results);
} finally {
  await stopTestStack(dir);
}

async function runLive(): Promise<FileResult[]> {
  const port = await freePort();
  const { certificate, key } = await makeCertificate(join(dir, 'tls'), DOMAIN);
  process.env.WRENN_NAME_SERVERS ??= ''; // the host's own, not those of our tests
  process.env.WRENN_DOMAIN = `${DOMAIN}:${port}`;
  process.env.WRENN_TLS_LISTEN = `127.0.0.1:${port}`;
  process.env.WRENN_TLS_CERT = certificate;
  process.env.WRENN_TLS_KEY = key;
  const stack = await startTestStack(dir, SLOTS);
  return runSuite({
    E2B_DOMAIN: process.env.WRENN_DOMAIN,
    E2B_API_KEY: stack.apiKey.replace(/^wrn_/, 'e2b_'),
    NODE_EXTRA_CA_CERTS: certificate,
  });
}

async function runSuite(env: NodeJS.ProcessEnv): Promise<FileResult[]> {
  const output = join(dir, 'results.json');
  const config = join(SUITE, 'wrenn.config.mjs');
  writeFileSync(config, CONFIG);
  const shim = join(import.meta.dirname, 'domain-shim.cjs');
  await statusOf(
    [
      process.execPath,
      join(SUITE, 'node_modules/vitest/vitest.mjs'),
      ...['run', '--config', config, '--reporter=default', '--reporter=json', `--outputFile.json=${output}`],
      ...filters,
    ],
    {
      cwd: SUITE,
      env: { ...process.env, ...env, NODE_OPTIONS: `--require=${shim}` },
    },
  );
  const { testResults } = JSON.parse(readFileSync(output, 'utf8')) as { testResults: FileResult[] };
  return testResults;
}

function print(results: readonly FileResult[]): void {
  const count = (file: FileResult, status: string) =>
    file.assertionResults.filter((one) => one.status === status).length;
  const rows = results.map((file) => ({
    file: file.name.slice(SUITE.length + 1).replace(/^tests\//, ''),
    passed: count(file, 'passed'),
    failed: count(file, 'failed'),
    skipped: file.assertionResults.length - count(file, 'passed') - count(file, 'failed'),
  }));
  rows.sort((a, b) => a.file.localeCompare(b.file));
  for (const row of rows) console.log(`${row.file} | ${row.passed} | ${row.failed} | ${row.skipped}`);
  for (const file of results)
    for (const { status, fullName } of file.assertionResults)
      if (status === 'failed') console.log(`failed: ${fullName}`);
  const sum = (name: 'passed' | 'failed' | 'skipped') => rows.reduce((total, row) => total + row[name], 0);
  console.log(`${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped`);
  const kept = process.env.E2B_RESULTS;
  if (kept !== undefined) writeFileSync(kept, JSON.stringify(results));
}
