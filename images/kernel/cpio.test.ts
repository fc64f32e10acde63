import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { cpio } from './cpio.ts';

test('VM5: the archive of an initrd unpacks to what was put in', () => {
  const dir = mkdtempSync(join(tmpdir(), 'wrenn-cpio-'));
  try {
    const archive = cpio([
      { name: 'dev', mode: 0o040755 },
      { name: 'init', mode: 0o100755, data: Buffer.from('#!/bin/true\n') },
      { name: 'odd', mode: 0o100644, data: Buffer.from('five5') },
    ]);
    expect(archive.length % 4).toBe(0);
    execFileSync('cpio', ['--extract', '--quiet'], { cwd: dir, input: archive });
    expect(readdirSync(dir).sort()).toEqual(['dev', 'init', 'odd']);
    expect(readFileSync(join(dir, 'odd'), 'utf8')).toBe('five5');
    expect(statSync(join(dir, 'init')).mode & 0o777).toBe(0o755);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test('the same entries give the same bytes', () => {
  const entries = [{ name: 'a', mode: 0o100644, data: Buffer.from('x') }];
  expect(cpio(entries).equals(cpio(entries))).toBe(true);
});
