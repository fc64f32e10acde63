import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Serial } from './serial.ts';

test('one thing at a time per VM, also after a failure; different VMs side by side', async () => {
  const serial = new Serial();
  const log: string[] = [];
  const work =
    (name: string, milliseconds: number, fails = false) =>
    async () => {
      log.push(`${name}+`);
      await sleep(milliseconds);
      log.push(`${name}-`);
      if (fails) throw new Error(name);
      return name;
    };
  const first = serial.run('a', work('step', 30, true));
  const second = serial.run('a', work('undo', 1));
  const other = serial.run('b', work('other', 1));
  await expect(first).rejects.toThrow('step');
  expect(await second).toBe('undo');
  expect(await other).toBe('other');
  expect(log.filter((line) => !line.startsWith('other'))).toEqual(['step+', 'step-', 'undo+', 'undo-']);
  expect(log.indexOf('other-')).toBeLessThan(log.indexOf('step-'));
});
