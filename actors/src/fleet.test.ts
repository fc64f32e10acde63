import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { SandboxSpec } from './sandbox/events.ts';
import { sandboxMachine } from './sandbox/machine.ts';
import { status } from './sandbox/project.ts';
import { leavesOf } from './testing/explore.ts';
import { Fleet } from './testing/fleet.ts';
import { checkCalm, checkFleet } from './testing/fleet-checks.ts';

/** Random runs of a test; more by `FLEET_RUNS=5000`, e.g. after a change of a machine. */
const RUNS = Number(process.env.FLEET_RUNS ?? 60);

/** Of moves, in a run. */
const FEWEST_KINDS = 4;

/** One thing that happens: which, and to whom; both are taken modulo what there is. */
type Move = readonly [what: number, whom: number];
type Moves = readonly (readonly [weight: number, move: (fleet: Fleet, whom: number) => void])[];

/** Sandboxes of all kinds of endings. */
const SPECS: readonly Partial<SandboxSpec>[] = [
  {},
  { timeout_sec: 60 },
  { timeout_sec: 60, on_timeout: 'destroy' },
  { ends_at: 1_700_000_900_000, on_end: 'pause' },
  { ends_at: 1_800_000_000_000 },
];

/** Everything that can happen, as often as its number says. */
const MOVES: Moves = [
  [4, (fleet, n) => fleet.sandboxes.length < 4 && fleet.create(SPECS[n % SPECS.length] ?? {})],
  [10, (fleet, n) => pick(fleet.sandboxes, n, (sandbox) => fleet.attempt(sandbox, n))],
  [16, (fleet, n) => pick(fleet.calls, n, (call) => fleet.carry(call))],
  [2, (fleet, n) => pick(fleet.calls, n, (call) => fleet.lose(call))],
  [10, (fleet, n) => fleet.deliver(n)],
  [10, (fleet, n) => pick(fleet.hosts, n, (host) => fleet.watch(host))],
  [20, (fleet, n) => pick(working(fleet), n, ([host, vm]) => host.work(vm, 'done'))],
  [4, (fleet, n) => pick(working(fleet), n, ([host, vm]) => host.work(vm, 'failed'))],
  [3, (fleet, n) => pick(working(fleet), n, ([host, vm]) => host.work(vm, 'agent dies'))],
  [2, (fleet, n) => pick(vms(fleet), n, ([host, vm]) => host.kill(vm))],
  [1, (fleet, n) => pick(fleet.hosts, n, (host) => host.restart())],
  [4, (fleet, n) => pick(fleet.hosts, n, (host) => fleet.heartbeat(host))],
  [6, (fleet, n) => pick(fleet.hosts, n, (host) => fleet.attemptHost(host))],
  [3, (fleet, n) => pick(fleet.hosts, n, (host) => Object.assign(host, { reachable: !host.reachable }))],
  [1, (fleet, n) => pick(fleet.hosts, n, (host) => Object.assign(host, { watched: 0 }))], // replayed from a cursor
  [5, (fleet, n) => pick(fleet.sandboxTimers(), n, (fire) => fire())],
  [5, (fleet, n) => pick(fleet.hostTimers(), n, (fire) => fire())],
  [2, (fleet, n) => pick(fleet.sandboxes, n, (one) => fleet.command(one, { type: 'DESTROY', wait: n % 2 === 0 }))],
  [1, (fleet, n) => pick(fleet.sandboxes, n, (one) => fleet.command(one, { type: 'PING' }))],
  [1, (fleet, n) => pick(fleet.sandboxes, n, (one) => fleet.command(one, { type: 'PATCH', timeout_sec: n % 90 }))],
  [5, (fleet, n) => pick(fleet.sandboxes, n, (one) => fleet.command(one, { type: 'PAUSE' }))],
  [5, (fleet, n) => pick(fleet.sandboxes, n, (one) => fleet.command(one, { type: 'RESUME' }))],
  [2, (fleet, n) => pick(fleet.sandboxes, n, (one) => fleet.command(one, { type: 'RESUME', join: true }))],
  [2, (fleet, n) => pick(fleet.sandboxes, n, (one) => fleet.branch(one, 0))],
  [2, (fleet, n) => fleet.sandboxes.length < 8 && pick(fleet.sandboxes, n, (one) => fleet.branch(one, 1 + (n % 2)))],
  [1, (fleet, n) => pick([...fleet.snapshots.values()], n, (one) => fleet.deleteTemplate(one))],
  [3, (fleet, n) => pick([...fleet.snapshots.values()], n, (one) => fleet.attemptSnapshot(one))],
  [2, (fleet, n) => pick(fleet.sandboxes, n, (one) => fleet.repeat(one, n))],
  [2, (fleet) => fleet.restart()],
  [5, (fleet, n) => fleet.calm(1 + (n % 4))], // all goes well for a while
];

function pick<T>(things: readonly T[], n: number, use: (thing: T) => void): void {
  const thing = things[n % Math.max(1, things.length)];
  if (thing !== undefined) use(thing);
}
const working = (fleet: Fleet) => fleet.hosts.flatMap((host) => host.working().map((vm) => [host, vm] as const));
const vms = (fleet: Fleet) => fleet.hosts.flatMap((host) => [...host.vms.values()].map((vm) => [host, vm] as const));

/** States in which a sandbox was seen by some run, and how many starts the most tried one took. */
const seen = { paths: new Set<string>(), starts: 0 };

interface Run {
  /** Whether its first sandboxes run before anything goes wrong. */
  readonly settled: boolean;
  /** Kinds of moves that do not happen in it: what is rare among all of them is frequent among few. */
  readonly without: readonly number[];
  readonly moves: readonly Move[];
}

function play({ settled, without, moves }: Run): Fleet {
  const wheel = MOVES.filter((_, kind) => !without.includes(kind)).flatMap(([weight, move]) =>
    Array.from({ length: weight }, () => move),
  );
  const fleet = new Fleet(3);
  for (const spec of [SPECS[1], SPECS[4]]) fleet.create(spec ?? {});
  if (settled) fleet.calm();
  for (const [what, whom] of moves) {
    wheel[what % wheel.length]?.(fleet, whom);
    checkFleet(fleet);
    for (const { path, context } of fleet.sandboxes) {
      seen.paths.add(path);
      seen.starts = Math.max(seen.starts, context.incarnation);
    }
  }
  return fleet;
}

const anyRun: fc.Arbitrary<Run> = fc.record({
  settled: fc.boolean(),
  without: fc.oneof(fc.constant([]), fc.subarray([...MOVES.keys()], { maxLength: MOVES.length - FEWEST_KINDS })),
  moves: fc.array(fc.tuple(fc.nat(9_999), fc.nat(9_999)), { size: 'max', maxLength: 300 }),
});

describe('a fleet in which anything happens in any order', { timeout: 30_000 + RUNS * 500 }, () => {
  test('keeps I1–I8 at every step, and when all is calm nothing is stuck, lost, doubled or left over', () => {
    const property = fc.property(anyRun, (run) => {
      const fleet = play(run);
      fleet.calm();
      checkCalm(fleet);
    });
    fc.assert(property, { numRuns: RUNS }); // a failure prints seed and path of the smallest run that fails
  });

  test('hosts removed by force take their sandboxes with them', () => {
    const property = fc.property(anyRun, fc.nat(2), (run, which) => {
      const fleet = play(run);
      pick(fleet.hosts, which, (host) => fleet.deleteHost(host));
      fleet.calm();
      checkCalm(fleet);
      for (const { context, view } of fleet.sandboxes) {
        if (context.host_id === fleet.hosts[which]?.id) expect(['stopped', 'error']).toContain(status(view));
      }
    });
    fc.assert(property, { numRuns: RUNS / 2 });
  });

  test('the random runs lead everywhere', () => {
    // One seed, and nothing of the other runs, so that chance does not decide whether this passes.
    Object.assign(seen, { paths: new Set(), starts: 0 });
    for (const run of fc.sample(anyRun, { seed: 1, numRuns: 150 })) play(run);
    const leaves = new Set([...seen.paths].flatMap((path) => path.split('+')));
    expect(leavesOf(sandboxMachine).filter((path) => !leaves.has(path))).toEqual([]);
    expect(seen.starts).toBeGreaterThan(1);
  });

  test('when nothing fails, what is created runs', () => {
    const fleet = new Fleet(2);
    for (let i = 0; i < 4; i += 1) fleet.create({});
    fleet.calm();
    checkCalm(fleet);
    expect(fleet.sandboxes.map(({ view }) => status(view))).toEqual(['running', 'running', 'running', 'running']);
    expect(fleet.reservations.size).toBe(4);
  });
});

describe('runs that once failed', () => {
  /** One sandbox whose VM is being paused, as far as this state of it. */
  function pausing(path: string) {
    const fleet = new Fleet(1);
    fleet.create({});
    fleet.calm();
    const [host] = fleet.hosts;
    const [sandbox] = fleet.sandboxes;
    const vm = host?.vms.get(`${sandbox?.ref.id}.1`);
    if (!host || !sandbox || !vm) throw new Error('nothing runs');
    const call = () => {
      fleet.attempt(sandbox, 0);
      for (const one of fleet.calls) fleet.carry(one);
    };
    fleet.command(sandbox, { type: 'PAUSE' });
    call();
    for (let steps = 0; vm.path !== path && steps < 10; steps += 1) host.work(vm, 'done');
    expect(vm.path).toBe(path);
    return { fleet, host, sandbox, vm, call };
  }

  test('a destroy that reaches a host while a paused VM gives its network slot back', () => {
    const { fleet, sandbox, vm, call } = pausing('releasing.unslot');
    fleet.command(sandbox, { type: 'DESTROY' });
    call();
    fleet.calm();
    checkCalm(fleet);
    expect(vm.path).toBe('gone');
    expect(status(sandbox.view)).toBe('stopped');
  });

  test('a pause of a VM whose host is still at a snapshot that its sandbox has given up', () => {
    const fleet = new Fleet(1);
    fleet.create({});
    fleet.calm();
    const [sandbox] = fleet.sandboxes;
    if (!sandbox) throw new Error('nothing runs');
    const call = () => {
      fleet.attempt(sandbox, 0);
      for (const one of fleet.calls) fleet.carry(one);
    };
    fleet.branch(sandbox, 0);
    call();
    expect(sandbox.fire('BRANCH_DEADLINE')).toBe('transition');
    fleet.command(sandbox, { type: 'PAUSE' });
    call();
    fleet.calm();
    checkCalm(fleet);
    expect(status(sandbox.view)).toBe('paused');
  });

  test('a VMM that ends while its pause is published, which then fails: nothing can run on', () => {
    const { fleet, host, sandbox, vm } = pausing('publishing');
    host.kill(vm);
    host.work(vm, 'failed');
    fleet.calm();
    checkCalm(fleet);
    expect(vm.path).toBe('gone');
    expect(status(sandbox.view)).toBe('error');
  });
});
