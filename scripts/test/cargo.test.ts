import { expect, test } from 'vitest';
import { countCargo, panicsOf } from './cargo.ts';

test('results of all test programs are summed', () => {
  const output = [
    'test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s',
    'test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s',
  ].join('\n');
  expect(countCargo(output)).toEqual({ passed: 6, failed: 1 });
});

test('of a test that failed, its name and its panic are told', () => {
  const output = [
    'failures:',
    '',
    '---- tree stdout ----',
    '',
    "thread 'tree' panicked at envd/tests/common/mod.rs:302:9:",
    'not in 10 s: the tree is gone',
    '',
    '',
    'failures:',
    '    tree',
  ].join('\n');
  expect(panicsOf(output)).toEqual([
    [
      'tree',
      "      thread 'tree' panicked at envd/tests/common/mod.rs:302:9:",
      '      not in 10 s: the tree is gone',
    ].join('\n'),
  ]);
});
