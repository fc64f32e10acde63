import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { hostDefinition } from './host/definition.ts';
import { machineAsData, type StateData } from './machine-as-data.ts';
import { sandboxDefinition } from './sandbox/definition.ts';
import { snapshotDefinition } from './snapshot/definition.ts';
import { machineTables } from './tables.ts';
import { vmDefinition } from './vm/definition.ts';

const all = (state: StateData): StateData[] => [state, ...state.states.flatMap(all)];

describe.each([sandboxDefinition, snapshotDefinition, hostDefinition, vmDefinition])('$kind', (definition) => {
  const data = machineAsData(definition);

  test('its README is current', async () => {
    const file = new URL(`./${definition.kind}/README.md`, import.meta.url);
    expect(await readFile(file, 'utf8')).toBe(machineTables(data));
  });

  test('as data it is whole JSON, with names everywhere', () => {
    expect(JSON.parse(JSON.stringify(data))).toEqual(data);
    const states = all(data.root);
    const names = states.flatMap(({ entry, exit, transitions }) => [
      ...entry,
      ...exit,
      ...transitions.flatMap(({ guards, actions }) => [...guards, ...actions]),
    ]);
    expect(names.filter((name) => name === 'unnamed' || name === '' || name === undefined)).toEqual([]);
    const paths = new Set(states.map(({ path }) => path));
    const targets = states.flatMap(({ transitions }) => transitions.flatMap((one) => one.targets));
    expect(targets.filter((path) => !paths.has(path))).toEqual([]);
    for (const effect of data.effects) expect(paths).toContain(effect.while);
  });

  test('every effect is opened on entry to the state that it belongs to, and nowhere else', () => {
    for (const { name, while: owner } of data.effects) {
      const openers = all(data.root).filter(({ entry }) => entry.includes(`effect ${name}`));
      expect(openers.map(({ path }) => path)).toEqual([owner]);
    }
    const inTransitions = all(data.root).flatMap(({ transitions }) => transitions.flatMap(({ actions }) => actions));
    expect(inTransitions.filter((action) => action.startsWith('effect '))).toEqual([]);
  });
});
