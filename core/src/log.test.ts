import { expect, test } from 'vitest';
import { createLogger } from './log.ts';

test('secrets are not printed, at the top and two levels down', () => {
  const lines: string[] = [];
  const log = createLogger({ name: 'test' }, { write: (line) => void lines.push(line) });
  log.info(
    {
      token: 's3cret',
      headers: { authorization: 's3cret', 'x-api-key': 's3cret' },
      host: { credentials: { key_pem: 's3cret' } },
      spec: { access_token: 's3cret', envs: { A: 's3cret' } },
      vcpus: 2,
    },
    'made',
  );
  expect(lines.join('')).not.toContain('s3cret');
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({ name: 'test', msg: 'made', vcpus: 2, token: '[redacted]' });
});
