import { expect, test } from 'vitest';
import { parseCommandLine, UsageError } from './command-line.ts';

test('the commands of wrenn-agent', () => {
  expect(parseCommandLine([])).toEqual({ command: 'run', registration: null });
  expect(parseCommandLine(['--register', 't', '--address', '127.0.0.1:5'])).toEqual({
    command: 'run',
    registration: { token: 't', address: '127.0.0.1:5' },
  });
  expect(parseCommandLine(['doctor'])).toEqual({ command: 'doctor' });
  expect(parseCommandLine(['demo'])).toEqual({ command: 'demo' });
  expect(parseCommandLine(['run', '--help'])).toEqual({ command: 'help' });
});

test.each([
  [['walk']],
  [['demo', 'twice']],
  [['--register', 't']],
  [['doctor', '--register', 't', '--address', 'a']],
  [['--no-such-flag']],
])('refuses %j with words', (args) => {
  expect(() => parseCommandLine(args)).toThrow(UsageError);
});
