import { expect, test } from 'vitest';
import { Admission } from './admission.ts';

const never = new AbortController().signal;

test('lets in as many as there are places, and the others in their order', async () => {
  const admission = new Admission(2);
  const order: string[] = [];
  const enter = (vm: string, signal = never) => admission.enter(vm, signal).then(() => order.push(vm));
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
  const admission = new Admission(1);
  await admission.enter('a', never);
  const gone = new AbortController();
  const waiting = admission.enter('b', gone.signal);
  const last = admission.enter('c', never);
  gone.abort(new Error('destroyed'));
  await expect(waiting).rejects.toThrow('destroyed');
  admission.leave('a');
  await last;
  await expect(admission.enter('d', AbortSignal.abort(new Error('late')))).rejects.toThrow('late');
});

test('AG6: VMs that boot already when the agent starts have their places, and asking again takes no second one', async () => {
  const admission = new Admission(1);
  admission.readmit('a');
  const waiting = admission.enter('b', never);
  await admission.enter('a', never);
  admission.leave('a');
  await waiting;
});
