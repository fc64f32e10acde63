import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test, vi } from 'vitest';
import { stateFolder } from '../lib/checkout.ts';
import { runSteps, StepError } from './step.ts';

const dir = mkdtempSync(join(tmpdir(), 'wrenn-step-'));
const name = `step test ${process.pid}`;
afterAll(() => {
  rmSync(dir, { recursive: true });
  const slug = name.replaceAll(/\W+/g, '-');
  rmSync(join(stateFolder('stamps'), slug), { force: true });
  rmSync(join(stateFolder('log'), `build-${slug}.log`), { force: true });
});

test('a step runs again only for other inputs, a missing output or after a failure', async () => {
  vi.spyOn(console, 'log').mockReturnValue();
  vi.spyOn(console, 'error').mockReturnValue();
  const input = join(dir, 'input');
  const output = join(dir, 'output');
  let runs = 0;
  let broken = false;
  const step = {
    name,
    inputs: [input],
    outputs: [output],
    run: async () => {
      runs += 1;
      if (broken) throw new Error('broken');
      writeFileSync(output, '');
      return undefined;
    },
  };
  const runsOf = async () => {
    await runSteps([step]).catch((error: unknown) => expect(error).toBeInstanceOf(StepError));
    return runs;
  };
  writeFileSync(input, 'one');
  expect(await runsOf()).toBe(1);
  expect(await runsOf()).toBe(1);
  writeFileSync(input, 'two');
  expect(await runsOf()).toBe(2);
  rmSync(output);
  expect(await runsOf()).toBe(3);
  broken = true;
  writeFileSync(input, 'three');
  expect(await runsOf()).toBe(4);
  broken = false;
  expect(await runsOf()).toBe(5);
});
