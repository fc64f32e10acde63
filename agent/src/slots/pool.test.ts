import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { networkRemove, slotCreate, slotList } from '@wrenn/addon';
import { silentLog } from '@wrenn/core';
import { afterAll, afterEach, expect, test } from 'vitest';
import { EgressPolicies } from './egress-policies.ts';
import { SlotPool } from './pool.ts';

const RANGE = { first: 9240, last: 9244 };
const present = async () => (await slotList(RANGE)).map(({ index }) => index);

const folder = mkdtempSync(join(tmpdir(), 'wrenn-egress-'));
afterAll(() => rmSync(folder, { recursive: true }));
const egress = new EgressPolicies({ folder, nameServers: async () => ['127.0.0.1:53'] });

let pool: SlotPool;
const { signal } = new AbortController();
afterEach(async () => {
  await pool.close();
  await networkRemove({ slots: RANGE });
});

function make(ready: number): SlotPool {
  pool = new SlotPool({ ...RANGE, ready, egress, log: silentLog });
  return pool;
}

test('NET5: slots are ready ahead of demand, lowest first, and a burst beyond them is served too', async () => {
  await make(2).start(new Map());
  await expect.poll(present).toEqual([9240, 9241]);
  const taken = await Promise.all(['a', 'b', 'c', 'd'].map((vm) => pool.takeFor(vm, signal)));
  expect(taken.map(({ index }) => index).sort()).toEqual([9240, 9241, 9242, 9243]);
  expect(new Set(taken.map(({ hostIp }) => hostIp)).size).toBe(4);
  expect(taken[0]).toMatchObject({ guestIp: '169.254.0.21', namespace: `wrenn-ns-${taken[0]?.index}` });
});

test('a VM that asks again has the same slot; none left is a typed error; released ones come again', async () => {
  await make(0).start(new Map());
  const slots = await Promise.all(['a', 'b', 'c', 'd', 'e'].map((vm) => pool.takeFor(vm, signal)));
  expect(await pool.takeFor('c', signal)).toEqual(slots[2]);
  await expect(pool.takeFor('f', signal)).rejects.toMatchObject({ code: 'no_slots_available', retryable: true });
  await pool.release('b');
  await pool.release('b'); // it has none any more
  expect(pool.takenBy('b')).toBeUndefined();
  expect((await pool.takeFor('f', signal)).index).toBe(9241); // as soon as the old one is gone
  expect(pool.takenBy('f')).toBe(9241);
  await pool.release('b'); // another VM's by now
  expect(await present()).toContain(9241);
});

test('SN1: a slot that is given back is removed whole, and is nobody’s until then', async () => {
  await make(0).start(new Map());
  const [a, b] = await Promise.all([pool.takeFor('a', signal), pool.takeFor('b', signal)]);
  await Promise.all([pool.release('a'), pool.release('b')]);
  expect((await pool.takeFor('c', signal)).index).not.toBeOneOf([a.index, b.index]);
  await pool.close(); // ends what is under way
  expect(await present()).toEqual([9242]);
});

test('a wait for the last slot ends with whoever waits', async () => {
  await make(0).start(new Map());
  await Promise.all(['a', 'b', 'c', 'd', 'e'].map((vm) => pool.takeFor(vm, signal)));
  const waiting = new AbortController();
  await pool.release('a');
  const taken = pool.takeFor('f', waiting.signal);
  waiting.abort(new Error('given up'));
  await expect(taken).rejects.toThrow('given up');
  expect(pool.takenBy('f')).toBeUndefined();
  expect((await pool.takeFor('g', signal)).index).toBe(9240);
});

test('NET3: what belongs to no live VM is removed at the start, the others are kept', async () => {
  await slotCreate({ index: 9240 });
  await slotCreate({ index: 9242 });
  await make(0).start(new Map([[9242, 'live']]));
  expect(await present()).toEqual([9242]);
  expect(pool.takenBy('live')).toBe(9242);
  expect((await pool.takeFor('new', signal)).index).toBe(9240);
  await pool.close();
  expect(await present()).toEqual([9240, 9242]); // those of VMs stay
});

test('NET4: a policy is kept for the VM that has the slot, and goes with the slot', async () => {
  const kept = () => readdirSync(folder);
  await make(0).start(new Map());
  const { index } = await pool.takeFor('a', signal);
  await expect(pool.restrict('b', null)).rejects.toMatchObject({ code: 'not_running' });
  await pool.restrict('a', { allow: ['*.example.com', '203.0.113.0/24'], deny: ['0.0.0.0/0'] });
  expect(kept()).toEqual([`${index}.json`]);
  await expect(pool.restrict('a', { allow: ['nothing'], deny: [] })).rejects.toMatchObject({
    code: 'invalid_argument',
  });

  await pool.close(); // the next agent
  await make(0).start(new Map([[index, 'a']]));
  expect(kept()).toEqual([`${index}.json`]);
  await pool.restrict('a', null);
  await pool.release('a');
  expect(kept()).toEqual([]);
});
