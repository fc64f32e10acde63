import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { agentSettings } from '../agent/src/config.ts';
import { configSchema } from '../gateway/src/config.ts';
import { CHECKOUT } from './lib/checkout.ts';

test('every setting of the programs is in .env.example and in docs/operations.md', () => {
  const names = [...Object.keys(configSchema.shape), ...Object.keys(agentSettings.shape)];
  expect(names).toContain('WRENN_DATABASE_URL');
  for (const file of ['.env.example', 'docs/operations.md']) {
    const text = readFileSync(join(CHECKOUT, file), 'utf8');
    expect(names.filter((name) => !text.includes(name))).toEqual([]);
  }
});
