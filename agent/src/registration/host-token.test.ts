import { expect, test } from 'vitest';
import { renewalDue } from './host-token.ts';

const token = (claims: object) => `h.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.s`;

test('H2: due before it expires, at four fifths of its life', () => {
  expect(renewalDue(token({ iat: 1000, exp: 2000 }))).toBe(1_800_000);
});

test.each(['', 'a.b.c', token({}), token({ iat: 'x', exp: 'y' })])(
  'what is no token of ours (%j) is due now',
  (jwt) => {
    expect(renewalDue(jwt)).toBe(0);
  },
);
