import { type MachineData, machineAsData, type StateData, sandboxDefinition } from '@wrenn/actors';
import { expect, test } from 'vitest';
import { whyNot } from './why-not.ts';

const state = (path: string, transitions: Partial<StateData['transitions'][number]>[], states: StateData[] = []) =>
  ({
    ...{ key: path, path, type: 'atomic', tags: [], entry: [], exit: [] },
    transitions,
    states,
  }) as unknown as StateData;
const machine = {
  root: state(
    '',
    [],
    [
      state('running', [], [state('running.idle', [{ event: 'PAUSE', guards: ['isIdle', 'hasRoom'] }])]),
      state('paused', [{ event: 'RESUME', guards: [] }]),
      state('done', []),
    ],
  ),
} as unknown as MachineData;

test('API11: names the states that take a command, or the conditions that do not hold', () => {
  expect(whyNot(machine, 'running.idle', 'RESUME')).toBe('Possible in paused; it is running.');
  expect(whyNot(machine, 'running.idle+running.other', 'PAUSE')).toBe(
    'While it is running, isIdle and hasRoom must hold.',
  );
  expect(whyNot(machine, 'paused', 'PAUSE')).toBe('Possible in running.idle; it is paused.');
  expect(whyNot(machine, 'paused', 'RESUME')).toBe('It is busy with something else.');
  expect(whyNot(machine, 'done', 'FLY')).toBe('No state of it takes this.');
});

test('API11: the real machine says where a sandbox can be resumed', () => {
  const reason = whyNot(machineAsData(sandboxDefinition), 'running.idle.off+running.operation.none', 'RESUME');
  expect(reason).toMatch(/paused/);
});
