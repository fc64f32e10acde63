import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { JournalEntry } from '../lib/api.ts';
import { causeOf, delayOf, eventName, Journal } from './journal.ts';
import { applyDiff, type Json, type Operation, valueAt } from './patch.ts';

function entry(seq: number, diff: readonly Operation[], more: Partial<JournalEntry> = {}): JournalEntry {
  return {
    kind: 'sandbox',
    id: 'sb',
    seq,
    at: new Date(seq * 1_000).toISOString(),
    outcome: 'transition',
    event: { type: 'PING' },
    message_id: `m${seq}`,
    cause: { type: 'user', id: 'usr-1', name: 'ana@example.org' },
    from: null,
    to: 'running',
    path: 'running',
    diff: [...diff],
    machine_version: 1,
    ...more,
  } as JournalEntry;
}

describe('CON2: time travel', () => {
  test('a context is rebuilt at any revision, in any order of looking', () => {
    fc.assert(
      fc.property(fc.array(fc.integer(), { minLength: 1, maxLength: 300 }), fc.integer({ min: 0 }), (values, pick) => {
        const entries = values.map((value, index) =>
          entry(index + 1, [
            index === 0
              ? { op: 'replace', path: '', value: { n: value, list: [] } }
              : { op: 'replace', path: '/n', value },
            ...(index > 0 ? [{ op: 'add', path: '/list/-', value } as const] : []),
          ]),
        );
        const journal = new Journal(entries);
        const index = pick % values.length;
        journal.contextAt(values.length - 1); // keeps some on the way
        expect(journal.contextAt(index)).toEqual({ n: values[index], list: values.slice(1, index + 1) });
      }),
    );
  });

  test('the latest part of a journal begins with the context that is known there, or with none', () => {
    const entries = [
      entry(501, [{ op: 'replace', path: '/n', value: 1 }]),
      entry(502, [{ op: 'add', path: '/m', value: 2 }]),
    ];
    const known = new Journal(entries, { n: 1 });
    expect([known.whole, known.contextAt(0), known.contextAt(1)]).toEqual([false, { n: 1 }, { n: 1, m: 2 }]);
    const unknown = new Journal(entries);
    expect([unknown.contextAt(0), unknown.contextAt(1)]).toEqual([null, null]);
  });

  test('what comes next is appended; what was rebuilt is kept', () => {
    fc.assert(
      fc.property(fc.array(fc.integer(), { minLength: 2, maxLength: 200 }), fc.nat(), (values, pick) => {
        const entries = values.map((value, index) =>
          entry(index + 1, [
            { op: 'replace', path: index === 0 ? '' : '/n', value: index === 0 ? { n: value } : value },
          ]),
        );
        const cut = 1 + (pick % (values.length - 1));
        const begun = new Journal(entries.slice(0, cut));
        begun.contextAt(cut - 1);
        const whole = begun.followedBy(entries.slice(cut));
        expect(whole.entries.length).toBe(values.length);
        expect(whole.contextAt(values.length - 1)).toEqual({ n: values.at(-1) });
        expect(whole.contextAt(cut - 1)).toEqual({ n: values[cut - 1] });
      }),
    );
  });

  test('a diff leaves what it is applied to as it was', () => {
    const before: Json = { a: { b: [1, 2] }, 'c/d~': 1 };
    const after = applyDiff(before, [
      { op: 'remove', path: '/a/b/0' },
      { op: 'add', path: '/a/b/1', value: 9 },
      { op: 'replace', path: '/c~1d~0', value: 2 },
      { op: 'remove', path: '/nothing' },
    ]);
    expect(after).toEqual({ a: { b: [2, 9] }, 'c/d~': 2 });
    expect(before).toEqual({ a: { b: [1, 2] }, 'c/d~': 1 });
    expect(valueAt(after, '/c~1d~0')).toBe(2);
    expect(valueAt(after, '/a/x/y')).toBeUndefined();
  });

  test('a revision is found by its number, or the last one before it', () => {
    const journal = new Journal([entry(1, []), entry(2, []), entry(5, [])]);
    expect([0, 1, 3, 5, 99].map((seq) => journal.indexOf(seq))).toEqual([-1, 0, 1, 2, 2]);
  });

  test('deadlines go by the names of their delays, causes by who people know', () => {
    expect(delayOf('xstate.after.IDLE.sandbox.running.idle.armed')).toBe('IDLE');
    expect(delayOf('DESTROY')).toBeNull();
    expect(eventName(entry(1, [], { event: { type: 'xstate.after.IDLE.sandbox.running' } }))).toBe('IDLE');
    expect(causeOf(entry(1, [])).label).toBe('user ana@example.org');
    expect(causeOf(entry(1, [], { cause: { type: 'effect', name: 'vm.create', key: 'sandbox:sb:6' } }))).toEqual({
      type: 'effect',
      label: 'result of vm.create',
      detail: 'sandbox:sb:6',
    });
  });
});
