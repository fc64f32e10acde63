import { readFileSync } from 'node:fs';
import { hostDefinition, machineAsData, sandboxDefinition, snapshotDefinition, vmDefinition } from '@wrenn/actors';
import { describe, expect, test } from 'vitest';
import { activeStates } from './active-states.ts';
import { drawnStates } from './drawn-states.ts';
import { edgesOf } from './edges.ts';
import { exitStates, isExit } from './exits.ts';
import { type Layout, shapeOf } from './layout.ts';
import { type MachineData, parentPath, statesOf } from './machine-data.ts';
import { meaningOf } from './meaning.ts';
import { simpleLayout } from './simple-layout.ts';
import { takenEdges } from './taken-edges.ts';

const machines: MachineData[] = [sandboxDefinition, snapshotDefinition, hostDefinition, vmDefinition].map(
  machineAsData,
);
const layouts = JSON.parse(readFileSync(new URL('./layouts.generated.json', import.meta.url), 'utf8')) as Record<
  string,
  Layout
>;
const sandbox = machines[0] as MachineData;

describe.each(machines.map((machine) => [machine.kind, machine] as const))('CON2: the chart of %s', (kind, machine) => {
  const layout = layouts[kind] as Layout;

  test('its committed layout is current', () => {
    expect(layout.shape, 'run node console/src/statechart/write-layouts.ts').toBe(shapeOf(machine));
  });

  test.each([
    ['the committed layout', () => layout],
    ['the layout made in the page', () => simpleLayout(machine)],
  ])('%s has every state inside the one that encloses it, and none on another', (_, make) => {
    const { nodes, width, height } = make();
    const drawn = drawnStates(machine);
    for (const { path } of drawn) {
      const [x, y, w, h] = nodes[path] ?? [Number.NaN, 0, 0, 0];
      const [px, py, pw, ph] = nodes[parentPath(path)] ?? [0, 0, width, height];
      expect(x >= px && y >= py && x + w <= px + pw && y + h <= py + ph, path).toBe(true);
    }
    for (const one of drawn) {
      for (const other of drawn) {
        if (one.path >= other.path || parentPath(one.path) !== parentPath(other.path)) continue;
        const [ax, ay, aw, ah] = nodes[one.path] ?? [0, 0, 0, 0];
        const [bx, by, bw, bh] = nodes[other.path] ?? [0, 0, 0, 0];
        const apart = ax + aw <= bx || bx + bw <= ax || ay + ah <= by || by + bh <= ay;
        expect(apart, `${one.path} and ${other.path}`).toBe(true);
      }
    }
  });

  test('every way has a line, but those into exits', () => {
    const edges = edgesOf(machine);
    const exits = exitStates(edges);
    const lined = edges.filter((edge) => !isExit(edge, exits)).map(({ id }) => id);
    expect(Object.keys(layout.edges).sort()).toEqual(lined.sort());
  });

  test('every transition between two states is part of a way', () => {
    const drawn = edgesOf(machine).flatMap(({ transitions }) => transitions);
    for (const { path, transitions } of drawnStates(machine)) {
      for (const { event, delay, targets } of transitions) {
        const outside = targets.some(
          (target) => target !== path && !`${target}.`.startsWith(`${path}.`) && !`${path}.`.startsWith(`${target}.`),
        );
        if (outside)
          expect(drawn.some((one) => one.from === path && one.event === (delay ?? (event || 'at once')))).toBe(true);
      }
    }
  });
});

describe('CON2: what is lit', () => {
  test('all active states, the enclosing ones included', () => {
    expect([...activeStates({ running: { idle: 'armed', operation: 'none' } })].sort()).toEqual([
      'running',
      'running.idle',
      'running.idle.armed',
      'running.operation',
      'running.operation.none',
    ]);
    expect([...activeStates('placing')]).toEqual(['placing']);
    expect([...activeStates(null)]).toEqual([]);
  });

  test('the way that a transition took, by its event, also from inside a box', () => {
    const edges = edgesOf(sandbox);
    const running = { running: { idle: 'off', lifetime: 'off', operation: 'none' } };
    expect([...takenEdges(edges, { from: 'placing', to: { starting: 'waiting' }, event: 'RESERVED' })]).toEqual([
      'placing>starting',
    ]);
    expect([...takenEdges(edges, { from: { starting: 'waiting' }, to: running, event: 'VM_READY' })]).toEqual([
      'starting>running',
    ]);
    expect([...takenEdges(edges, { from: running, to: running, event: 'PING' })]).toEqual([]);
    expect([...takenEdges(edges, { from: null, to: 'placing', event: 'CREATE' })]).toEqual([]);
  });

  test('meanings: rest, work, waiting, trouble, end', () => {
    const meanings = Object.fromEntries(statesOf(sandbox).map((state) => [state.path, meaningOf(state)]));
    expect(meanings).toMatchObject({
      placing: 'waiting',
      starting: 'working',
      running: 'rest',
      missing: 'trouble',
      error: 'trouble',
      stopped: 'ended',
      stopping: 'working',
    });
  });
});
