import { expect, test } from 'vitest';
import { labelsText, parseLabels } from './labels.ts';

test('labels are read as they are shown; a value may have an equals sign, or be empty', () => {
  const labels = { env: 'test', query: 'a=b', bare: '' };
  expect(labelsText(labels)).toBe('env=test query=a=b bare=');
  expect(parseLabels(labelsText(labels))).toEqual(labels);
  expect(parseLabels('  bare   env=test ')).toEqual({ bare: '', env: 'test' });
  expect(parseLabels(' ')).toEqual({});
});
