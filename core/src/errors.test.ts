import { expect, test } from 'vitest';
import { errorCodes } from './error-codes.ts';
import { errorFacts, errorFrom, TerminalError, WrennError } from './errors.ts';

test('a code says its HTTP status, its Connect code and whether trying again is of use', () => {
  const error = new WrennError('no_hosts_available', 'none is free', { cause: new Error('secret inside') });
  expect([error.status, error.connect, error.retryable]).toEqual([503, 'resource_exhausted', true]);
  expect(new TerminalError('no_hosts_available', '').retryable).toBe(false);
  for (const { status } of Object.values(errorCodes)) expect(status).toBeGreaterThanOrEqual(400);
});

test('what is stored of an error is its code and message, never its cause', () => {
  const error = new WrennError('conflict', 'twice', { cause: new Error('secret inside') });
  expect(errorFacts(error)).toEqual({ code: 'conflict', message: 'twice' });
  expect(errorFacts(Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }))).toEqual({
    code: 'ECONNREFUSED',
    message: 'refused',
  });
  expect(errorFacts('text')).toEqual({ code: 'internal', message: 'text' });
  expect(errorFrom({ code: 'toString', message: 'x' }).code).toBe('internal');
});
