import { sandboxDefinition } from '@wrenn/actors';
import type { JournalEntry } from '@wrenn/core';
import { expect, test } from 'vitest';
import { pairMessages } from './message-pairs.ts';

const ID = 'sb1';
const key = (number: number) => `sandbox:${ID}:${number}`;

/** Entries with what the pairs look at; `at` is the clock of the machine that wrote it. */
function entry(kind: string, id: string, seq: number, at: number, more: Partial<JournalEntry>): JournalEntry {
  return {
    ...{ cursor: '0', kind, id, seq, at, outcome: 'transition', messageId: `${kind}${seq}`, effectKey: null },
    ...{ event: { type: 'X' }, cause: { type: 'system' }, from: null, to: null, path: '', diff: [] },
    ...{ machineVersion: 1, teamId: null },
    ...more,
  };
}
const sandbox = (seq: number, at: number, more: Partial<JournalEntry>) => entry('sandbox', ID, seq, at, more);
const vm = (seq: number, at: number, more: Partial<JournalEntry>) => entry('vm', `${ID}.1`, seq, at, more);
const byEffect = (name: string, number: number) =>
  ({ effectKey: key(number), cause: { type: 'effect', name, key: key(number) } }) as const;
const report = (type: string, cursor: number) => ({ type, incarnation: 1, store_id: 'store', cursor });

/** The host's clock is 1,000 s ahead. */
const AHEAD = 1_000_000;
const placing = sandbox(1, 10, { to: 'placing', event: { type: 'CREATE' } });
const starting = sandbox(2, 20, { from: 'placing', to: 'starting', event: { type: 'RESERVED' } });
const created = vm(1, AHEAD + 25, { cursor: '7', event: { type: 'CREATE', key: key(2) } });
const step = vm(2, AHEAD + 60, {
  cursor: '8',
  from: 'preparing',
  to: 'booting',
  cause: { type: 'effect', name: 'vm.rootfs', key: 'vm:x:1' },
});
const ready = vm(3, AHEAD + 120, { cursor: '9', to: 'ready', event: { type: 'GUEST_READY' } });
const running = sandbox(3, 130, {
  ...byEffect('vm.create', 2),
  from: 'starting',
  to: { running: { idle: 'armed' } },
  event: report('VM_READY', 11), // the answer names the end of the journal, past entries of other VMs
});

test('API11: a command and its answer, with what no difference of clocks can change', () => {
  expect(pairMessages(sandboxDefinition, [placing, starting, running], [created, step, ready])).toEqual(
    [
      {
        ...{ id: key(2), direction: 'down', type: 'CREATE', outcome: 'transition', latencyMs: AHEAD + 5 },
        from: { kind: 'sandbox', id: ID, seq: 2, at: 20 },
        to: { kind: 'vm', id: `${ID}.1`, seq: 1, at: AHEAD + 25 },
        ...{ answers: null, roundTripMs: null, hostMs: null },
      },
      {
        ...{ id: 'store:9', direction: 'up', type: 'VM_READY', outcome: 'transition', latencyMs: 10 - AHEAD },
        from: { kind: 'vm', id: `${ID}.1`, seq: 3, at: AHEAD + 120 },
        to: { kind: 'sandbox', id: ID, seq: 3, at: 130 },
        ...{ answers: key(2), roundTripMs: 110, hostMs: 95 },
      },
    ].sort((a, b) => a.from.at - b.from.at),
  );
});

test('API11: answer and watch tell one fact once; a crash answers nobody', () => {
  const late = sandbox(4, 140, { outcome: 'late', event: report('VM_READY', 9) });
  const crashed = vm(4, AHEAD + 500, { cursor: '12', to: 'crashed', event: { type: 'VMM_EXITED' } });
  const died = sandbox(5, 520, { to: 'error', event: report('VM_DIED', 12) });
  const pairs = pairMessages(
    sandboxDefinition,
    [placing, starting, running, late, died],
    [created, step, ready, crashed],
  );
  expect(pairs.filter(({ direction }) => direction === 'up').map(({ type, answers }) => [type, answers])).toEqual(
    expect.arrayContaining([
      ['VM_READY', key(2)],
      ['VM_DIED', null],
    ]),
  );
  expect(pairs.length).toBe(3);
});

test('API11: on its way, sent twice, or from a journal that is gone', () => {
  // Commanded, not answered yet.
  const [only] = pairMessages(sandboxDefinition, [placing, starting], [created, step]);
  expect(only).toMatchObject({ id: key(2), from: { seq: 2 }, to: { seq: 1 } });
  // The same key again is the same command; what the host did by itself is none.
  const again = vm(4, AHEAD + 200, { cursor: '10', event: { type: 'CREATE', key: key(2) } });
  const foreign = vm(5, AHEAD + 300, { cursor: '11', event: { type: 'DESTROY', key: 'terminate:x' } });
  expect(pairMessages(sandboxDefinition, [placing, starting], [created, again, foreign]).length).toBe(1);
  // The host's entries are not kept any more.
  const [lost] = pairMessages(sandboxDefinition, [placing, starting, running], []);
  expect(lost).toMatchObject({
    direction: 'up',
    id: 'store:11',
    from: null,
    to: { seq: 3 },
    latencyMs: null,
    answers: null,
  });
});
