import { expect, test } from 'vitest';
import { countCargo } from './cargo.ts';

test('results of all test programs are summed', () => {
  const output = [
    'test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s',
    'test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s',
  ].join('\n');
  expect(countCargo(output)).toEqual({ passed: 6, failed: 1 });
});
