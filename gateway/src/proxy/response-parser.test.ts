import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ResponseParser } from './response-parser.ts';

interface Seen {
  status: number;
  fields: readonly string[];
  length: number | null;
  body: string;
  ended: boolean;
}

/** Parses what comes in pieces of these sizes. */
function parse(
  text: string,
  sizes: readonly number[] = [],
  headOnly = false,
): Seen & { keepAlive: boolean; rest: string } {
  const seen: Seen = { status: 0, fields: [], length: null, body: '', ended: false };
  const parser = new ResponseParser();
  parser.begin(
    {
      onHead: (status, fields, length) => Object.assign(seen, { status, fields, length }),
      onBody: (bytes) => {
        seen.body += bytes.toString('latin1');
      },
      onEnd: () => {
        seen.ended = true;
      },
    },
    headOnly,
  );
  const bytes = Buffer.from(text, 'latin1');
  let rest = '';
  let at = 0;
  for (const size of [...sizes, bytes.length]) {
    const behind = parser.push(bytes.subarray(at, at + size));
    at += size;
    if (behind) {
      rest = behind.toString('latin1');
      break;
    }
    if (at >= bytes.length) break;
  }
  return { ...seen, keepAlive: parser.keepAlive, rest };
}

const FIXED = 'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\ncontent-length: 5\r\n\r\nhello';
const CHUNKED =
  'HTTP/1.1 201 Created\r\nX-A: 1\r\nX-A: 2\r\ntransfer-encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: 1\r\n\r\n';

test('PX2: bodies with a length and in chunks, trailers dropped, repeated fields kept apart', () => {
  expect(parse(FIXED)).toMatchObject({
    status: 200,
    fields: ['content-type', 'text/plain'],
    length: 5,
    body: 'hello',
    ended: true,
    keepAlive: true,
  });
  expect(parse(CHUNKED)).toMatchObject({
    status: 201,
    fields: ['x-a', '1', 'x-a', '2'],
    length: null,
    body: 'hello!',
    ended: true,
  });
});

test('PX2: the same however the bytes arrive', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(FIXED, CHUNKED),
      fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 80 }),
      (text, sizes) => {
        expect(parse(text, sizes)).toEqual(parse(text));
      },
    ),
  );
});

test.each([
  ['HEAD with a length', 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n', true, { length: 5, body: '', ended: true }],
  ['204', 'HTTP/1.1 204 No Content\r\n\r\n', false, { length: null, ended: true, keepAlive: true }],
  ['304 with a length', 'HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n', false, { ended: true }],
  [
    'an interim answer first',
    `HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n${FIXED}`,
    false,
    { status: 200, body: 'hello' },
  ],
  ['no framing at all', 'HTTP/1.1 200 OK\r\n\r\n', false, { length: 0, ended: true, keepAlive: false }],
  [
    'connection: close',
    'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n',
    false,
    { keepAlive: false },
  ],
  ['bytes behind the end', `${FIXED}HTTP`, false, { ended: true, rest: 'HTTP' }],
])('PX2: %s', (_name, text, headOnly, expected) => {
  expect(parse(text, [], headOnly)).toMatchObject(expected);
});

test.each([
  ['not HTTP/1.1', 'HTTP/1.0 200 OK\r\n\r\n'],
  ['a field without a colon', 'HTTP/1.1 200 OK\r\nnonsense\r\n\r\n'],
  ['a length that is none', 'HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n'],
  ['a chunk without a size', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n'],
  ['a chunk longer than it says', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n'],
  ['a line that never ends', `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${'1'.repeat(300)}`],
])('PX2: %s is an error', (_name, text) => {
  expect(() => parse(text)).toThrow();
});
