import fc from 'fast-check';
import { expect, test } from 'vitest';
import { jsonDiff } from '../../../core/src/step/json-diff.ts';
import { applyDiff } from './json-patch.ts';

test('what a journal diffs, a mirror puts together again', () => {
  const json = fc.jsonValue({ maxDepth: 4 });
  fc.assert(
    fc.property(json, json, (from, to) => {
      const before = structuredClone(from);
      expect(applyDiff(from as never, jsonDiff(from as never, to as never))).toEqual(to);
      expect(from).toEqual(before);
    }),
    { numRuns: 500 },
  );
});

test('keys with / and ~, and places that are not there', () => {
  expect(applyDiff({ 'a/b': { '~': 1 } }, [{ op: 'replace', path: '/a~1b/~0', value: 2 }])).toEqual({
    'a/b': { '~': 2 },
  });
  expect(() => applyDiff({ a: 1 }, [{ op: 'replace', path: '/b/c', value: 2 }])).toThrow('no such place');
  expect(() => applyDiff({ a: [1] }, [{ op: 'add', path: '/a/7', value: 2 }])).toThrow('no such place');
});

test('a key named like what every object inherits is a key like others', () => {
  const from = JSON.parse('{"a":{"__proto__":{"b":1}}}');
  const to = JSON.parse('{"a":{"__proto__":{"b":2},"constructor":3}}');
  expect(JSON.stringify(applyDiff(from, jsonDiff(from, to)))).toBe(JSON.stringify(to));
  const added = applyDiff({}, jsonDiff({}, JSON.parse('{"__proto__":null}')));
  expect(JSON.stringify(added)).toBe('{"__proto__":null}');
});
