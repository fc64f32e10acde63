import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { stopTestStack } from './stack.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Folder of the run's stack; the first test that needs the stack starts it. */
    stackDir: string;
  }
}

/** One stack for all whole-system tests of a run, stopped at its end. */
export function setup(project: TestProject): () => Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'wrenn-e2e-'));
  project.provide('stackDir', dir);
  return () => stopTestStack(dir);
}
