import type { StateCount } from '../lib/feed.svelte.ts';
import { wholeSeconds } from '../lib/format.ts';
import type { Heat } from '../statechart/Statechart.svelte';
import type { Member } from './fleet.svelte.ts';

interface Tally {
  count: number;
  stuck: number;
  dwells: number[];
}

/** The states of a `path`, each with those that enclose it: `a.b+a.c` → `a`, `a.b`, `a.c`. */
export function statesOfPath(path: string): ReadonlySet<string> {
  const known = knownPaths.get(path);
  if (known) return known;
  const states = new Set<string>();
  for (const leaf of path.split('+')) {
    for (let end = leaf.indexOf('.'); end >= 0; end = leaf.indexOf('.', end + 1)) states.add(leaf.slice(0, end));
    states.add(leaf);
  }
  knownPaths.set(path, states);
  return states;
}

/** Paths are few, a machine has some dozens; they are asked for thousands of times in a second. */
const knownPaths = new Map<string, ReadonlySet<string>>();

/** Count and median dwell per state. `final` states hold nobody that counts: who has ended is over. */
export function heatOfMembers(
  members: Iterable<Member>,
  kind: string,
  now: number,
  stuck: ReadonlySet<string>,
  final: ReadonlySet<string>,
): Map<string, Heat> {
  const byPath = new Map<string, Tally>();
  for (const { kind: ofKind, id, path, since } of members) {
    if (ofKind !== kind || final.has(path)) continue;
    const tally = tallyOf(byPath, path);
    tally.count++;
    if (stuck.has(id)) tally.stuck++;
    tally.dwells.push(now - since);
  }
  return spread(byPath);
}

/** The same from counts; the median of a state that several paths share is that of the largest. */
export function heatOfCounts(counts: Iterable<StateCount>, kind: string): Map<string, Heat> {
  const byPath = new Map<string, Tally>();
  for (const { kind: ofKind, path, count, stuck, median_dwell_ms } of counts) {
    if (ofKind !== kind) continue;
    byPath.set(path, { count, stuck, dwells: [median_dwell_ms] });
  }
  return spread(byPath);
}

/** Paths are few, actors many: what is true of a path goes to each state of it. */
function spread(byPath: ReadonlyMap<string, Tally>): Map<string, Heat> {
  const byState = new Map<string, Tally>();
  for (const [path, { count, stuck, dwells }] of byPath) {
    for (const state of statesOfPath(path)) {
      const tally = tallyOf(byState, state);
      tally.count += count;
      tally.stuck += stuck;
      for (const dwell of dwells) tally.dwells.push(dwell);
    }
  }
  const most = Math.max(1, ...[...byState.values()].map(({ count }) => count));
  const heat = new Map<string, Heat>();
  for (const [state, { count, stuck, dwells }] of byState) {
    dwells.sort((one, other) => one - other);
    heat.set(state, {
      count,
      stuck,
      dwell: wholeSeconds(Math.max(0, dwells[dwells.length >> 1] ?? 0)),
      intensity: Math.log1p(count) / Math.log1p(most),
    });
  }
  return heat;
}

function tallyOf(tallies: Map<string, Tally>, name: string): Tally {
  let tally = tallies.get(name);
  if (!tally) {
    tally = { count: 0, stuck: 0, dwells: [] };
    tallies.set(name, tally);
  }
  return tally;
}
