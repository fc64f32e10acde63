import { expect, onTestFinished, test, vi } from 'vitest';
import { Admission } from './admission.ts';

const never = new AbortController().signal;

test('lets in as many as there are places, and the others in their order', async () => {
  const admission = new Admission({ boot: 2, restore: 1 });
  const order: string[] = [];
  const enter = (vm: string, signal = never) => admission.enter('boot', vm, signal).then(() => order.push(vm));
  await Promise.all([enter('a'), enter('b')]);
  const waiting = [enter('c'), enter('d'), enter('e')];
  await Promise.resolve();
  expect(order).toEqual(['a', 'b']);
  admission.leave('a');
  await waiting[0];
  expect(order).toEqual(['a', 'b', 'c']);
  admission.leave('a'); // again: it has no place to give
  admission.leave('c');
  await waiting[1];
  expect(order).toEqual(['a', 'b', 'c', 'd']);
  admission.leave('b');
  await waiting[2];
  expect(order).toEqual(['a', 'b', 'c', 'd', 'e']);
});

test('one that gives up leaves the line, and takes no place', async () => {
  const admission = new Admission({ boot: 1, restore: 1 });
  await admission.enter('boot', 'a', never);
  const gone = new AbortController();
  const waiting = admission.enter('boot', 'b', gone.signal);
  const last = admission.enter('boot', 'c', never);
  gone.abort(new Error('destroyed'));
  await expect(waiting).rejects.toThrow('destroyed');
  admission.leave('a');
  await last;
  await expect(admission.enter('boot', 'd', AbortSignal.abort(new Error('late')))).rejects.toThrow('late');
});

test('AG6: VMs that boot already when the agent starts have their places, and asking again takes no second one', async () => {
  const admission = new Admission({ boot: 1, restore: 1 });
  admission.readmit('a');
  const waiting = admission.enter('boot', 'b', never);
  await admission.enter('boot', 'a', never);
  admission.leave('a');
  await waiting;
});

test('restores have a line of their own', async () => {
  const admission = new Admission({ boot: 1, restore: 1 });
  await admission.enter('boot', 'a', never);
  await admission.enter('restore', 'b', never);
  const waiting = admission.enter('restore', 'c', never);
  admission.leave('a');
  await admission.enter('boot', 'd', never);
  admission.leave('b');
  await waiting;
});

test('a restore that hangs gives its place on', async () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const admission = new Admission({ boot: 1, restore: 1 });
  await admission.enter('restore', 'a', never);
  const waiting = [admission.enter('restore', 'b', never), admission.enter('restore', 'c', never)];
  await vi.advanceTimersToNextTimerAsync();
  await waiting[0];
  admission.leave('a'); // at its end: it has no place any more
  admission.leave('b');
  await waiting[1];
  expect(vi.getTimerCount()).toBe(1); // of c
});
