import { drawnStates } from './drawn-states.ts';
import { edgesOf } from './edges.ts';
import type { MachineData } from './machine-data.ts';

/** Where a statechart's parts are drawn, in the units of its own plane. */
export interface Layout {
  /** `shapeOf` the machine that it was made for. */
  readonly shape: string;
  readonly width: number;
  readonly height: number;
  readonly nodes: Readonly<Record<string, Box>>;
  /** Corners of each way, from its source to its target. */
  readonly edges: Readonly<Record<string, readonly Point[]>>;
}

/** x, y, width, height. */
export type Box = readonly [number, number, number, number];
export type Point = readonly [number, number];

/** Sizes that the layout and the drawing agree upon. */
export const METRICS = {
  headHeight: 24,
  padding: 11,
  atomWidth: 108,
  atomHeight: 34,
  charWidth: 7.3,
} as const;

/** Everything that the layout depends on, as a short text: a layout of another shape does not fit. */
export function shapeOf(machine: MachineData): string {
  const states = drawnStates(machine).map(({ path, type }) => `${path}:${type}`);
  const edges = edgesOf(machine).map(({ id }) => id);
  return fnv1a([...states, ...edges].join('\n'));
}

export function nodeWidth(key: string): number {
  return Math.max(METRICS.atomWidth, Math.ceil(key.length * METRICS.charWidth) + 40);
}

/** FNV-1a over UTF-16 units, 32 bits, in hex: enough to tell one machine's shape from another's. */
function fnv1a(text: string): string {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, '0');
}
