import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CHECKOUT } from './lib/checkout.ts';

/** Folders whose names, at the start of a quoted word, make it a path of ours. */
const ROOMS = /^(actors|agent|bench|console|core|docs|e2e|gateway|images|migrations|native|proto|scripts|sdk)\//;

test('docs/features.md names only tests that are there', () => {
  const text = readFileSync(join(CHECKOUT, 'docs/features.md'), 'utf8');
  const paths = [...text.matchAll(/`([^`]+)`/g)].map(([, quoted = '']) => quoted).filter((word) => ROOMS.test(word));
  expect(paths.length).toBeGreaterThan(30);
  expect(paths.filter((path) => globSync(path, { cwd: CHECKOUT }).length === 0)).toEqual([]);
});
