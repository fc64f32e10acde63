import { isTransient } from './drawn-states.ts';
import { edgesOf } from './edges.ts';
import { exitStates, isExit } from './exits.ts';
import { type Box, type Layout, METRICS, nodeWidth, type Point, shapeOf } from './layout.ts';
import type { MachineData, StateData } from './machine-data.ts';
import { straightLine } from './straight-line.ts';

const GAP = 24;
/** Children of one state side by side in a row; more begin the next one. */
const PER_ROW = 3;

/**
 * For a machine that the build did not know: boxes in rows, in the order of the machine, and straight lines. Plain,
 * but whole: an exported journal opens with any machine.
 */
export function simpleLayout(machine: MachineData): Layout {
  const nodes: Record<string, Box> = {};
  const { width, height } = place(machine.root.states, METRICS.padding, METRICS.padding);
  const edges: Record<string, Point[]> = {};
  const all = edgesOf(machine);
  const exits = exitStates(all);
  for (const { id, source, target } of all.filter((one) => !isExit(one, exits))) {
    const from = nodes[source];
    const to = nodes[target];
    if (from && to) edges[id] = straightLine(from, to);
  }
  return {
    shape: shapeOf(machine),
    width: width + 2 * METRICS.padding,
    height: height + 2 * METRICS.padding,
    nodes,
    edges,
  };

  function place(states: readonly StateData[], left: number, top: number): { width: number; height: number } {
    let [x, y, rowHeight, width] = [left, top, 0, 0];
    states
      .filter((state) => !isTransient(state))
      .forEach((state, index) => {
        if (index > 0 && index % PER_ROW === 0) {
          x = left;
          y += rowHeight + GAP;
          rowHeight = 0;
        }
        const size = placeOne(state, x, y);
        x += size.width + GAP;
        width = Math.max(width, x - GAP - left);
        rowHeight = Math.max(rowHeight, size.height);
      });
    return { width, height: y + rowHeight - top };
  }

  function placeOne(state: StateData, x: number, y: number): { width: number; height: number } {
    const { padding, headHeight, atomHeight } = METRICS;
    const size: { width: number; height: number } = { width: nodeWidth(state.key), height: atomHeight };
    if (state.states.length > 0) {
      const inside = place(state.states, x + padding, y + headHeight + padding);
      size.width = Math.max(size.width, inside.width + 2 * padding);
      size.height = inside.height + headHeight + 2 * padding;
    }
    nodes[state.path] = [x, y, size.width, size.height];
    return size;
  }
}
