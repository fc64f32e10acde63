import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';

/** CON3: first load without terminal and charts. */
const BUDGET_BYTES = 120_000;
const DIST = join(import.meta.dirname, 'dist');

const page = () => readFileSync(join(DIST, 'index.html'), 'utf8');
const assets = () => readdirSync(join(DIST, 'assets'));

test('CON3: what the page loads at first is less than 120 KB, packed', () => {
  const names = [...page().matchAll(/(?:src|href)="\/console\/(assets\/[^"]+)"/g)].map(([, name = '']) => name);
  expect(names.length, 'run make build').toBeGreaterThan(1);
  const sizes = names.map((name) => gzipSync(readFileSync(join(DIST, name)), { level: 9 }).length);
  const total = sizes.reduce((sum, size) => sum + size, gzipSync(page()).length);
  console.log(`first load: ${total} bytes packed`);
  expect(total).toBeLessThan(BUDGET_BYTES);
});

test('CON3: terminal and charts are apart, and the layout engine is nowhere', () => {
  const names = assets();
  expect(names.some((name) => /^Terminal-.*\.js$/.test(name))).toBe(true);
  expect(names.some((name) => /^Metrics-.*\.js$/.test(name))).toBe(true);
  const scripts = names
    .filter((name) => name.endsWith('.js'))
    .map((name) => readFileSync(join(DIST, 'assets', name), 'utf8'));
  expect(scripts.filter((text) => /org\.eclipse\.elk/.test(text))).toEqual([]);
});

test('CON3: nothing comes from elsewhere', () => {
  const texts = [page(), ...assets().map((name) => readFileSync(join(DIST, 'assets', name), 'utf8'))];
  const loads = texts.flatMap((text) =>
    [...text.matchAll(/(?:url\(|src=|href=|import\()["']?(https?:\/\/[^"')\s]+)/g)].map(([, url]) => url),
  );
  expect(loads).toEqual([]);
});
