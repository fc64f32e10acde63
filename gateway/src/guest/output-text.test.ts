import fc from 'fast-check';
import { expect, test } from 'vitest';
import { OutputText } from './output-text.ts';

test('text is whole however its bytes are cut, and no piece holds half a character (API2)', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), fc.array(fc.nat(8), { minLength: 1 }), (text, cuts) => {
      const bytes = Buffer.from(text);
      const output = new OutputText('utf-8');
      const pieces: string[] = [];
      for (let at = 0, n = 0; at < bytes.length; n += 1) {
        const size = 1 + (cuts[n % cuts.length] ?? 0);
        pieces.push(output.add('stdout', bytes.subarray(at, at + size)));
        at += size;
      }
      pieces.push(output.rest('stdout'));
      expect(pieces.join('')).toBe(text);
      expect(pieces.join('')).not.toContain('\ufffd');
    }),
  );
});

test('channels do not mix, a broken end is shown, base64 is as the bytes are', () => {
  const output = new OutputText('utf-8');
  expect(output.add('stdout', Buffer.from([0xc5]))).toBe('');
  expect(output.add('stderr', Buffer.from('x'))).toBe('x');
  expect(output.add('stdout', Buffer.from([0xbe]))).toBe('ž');
  expect(output.add('stdout', Buffer.from([0xc5]))).toBe('');
  expect(output.rest('stdout')).toBe('\ufffd');
  expect(new OutputText('base64').add('stdout', Buffer.from([0xc5]))).toBe('xQ==');
});
