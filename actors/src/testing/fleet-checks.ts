import assert from 'node:assert/strict';
import { holdsVm, status } from '../sandbox/project.ts';
import type { Fleet, Sandbox } from './fleet.ts';
import { checkActor, checkAllAnswered, checkReplay } from './invariants.ts';

/** What must hold at any moment, whatever happens (I1, I3 to I6, I8). */
export function checkFleet(fleet: Fleet): void {
  for (const actor of fleet.actors()) checkActor(actor as never);
  for (const host of fleet.hosts) host.check();
  for (const sandbox of fleet.sandboxes) checkSandbox(fleet, sandbox);
}

/** What must be so when all is calm: nothing pending, nothing lost, doubled or left over. */
export function checkCalm(fleet: Fleet): void {
  for (const sandbox of fleet.sandboxes) checkSandboxAtRest(fleet, sandbox);
  for (const host of fleet.hosts) for (const vm of host.vms.values()) checkReplay(vm as never);
  for (const actor of fleet.actors()) {
    checkReplay(actor as never);
    checkAllAnswered(actor as never);
  }
  checkSnapshots(fleet);
}

/** What was said to run is given up as lost only where it does not run. */
export function checkLoss({ hosts }: Fleet, { ref, context }: Sandbox): void {
  if (context.reason?.code !== 'lost_on_host' || context.started_at === null) return;
  const host = hosts.find(({ id }) => id === context.host_id);
  const vm = host?.vms.get(`${ref.id}.${context.incarnation}`);
  assert.notEqual(vm?.path, 'ready', `${ref.id} was given up as lost while its VM is ready`);
}

function checkSandbox({ hosts, reservations }: Fleet, sandbox: Sandbox): void {
  const { id } = sandbox.ref;
  const live = hosts.flatMap((host) =>
    [...host.kernel].flatMap(([vm, held]) => (vm.startsWith(`${id}.`) && held.has('kill') ? [`${host.id}/${vm}`] : [])),
  );
  assert(live.length <= 1, `${id} has more than one live VM: ${live.join(', ')} (I1)`);
  const reservation = reservations.get(id);
  if (reservation) assert(holdsVm(sandbox.view), `${id} in ${sandbox.path} still has a reservation (I6)`);
  if (holdsVm(sandbox.view) && sandbox.path !== 'stopping') {
    const { host_id, incarnation } = sandbox.context;
    assert.deepEqual(reservation, { host: host_id, incarnation }, `${id} in ${sandbox.path} has no reservation (I6)`);
  }
}

function checkSandboxAtRest({ hosts, reservations }: Fleet, sandbox: Sandbox): void {
  const { id } = sandbox.ref;
  const shown = status(sandbox.view);
  assert(['running', 'paused', 'stopped', 'error'].includes(shown), `${id} is stuck in ${sandbox.path}`);
  assert.equal(sandbox.context.operation, null, `${id} is stuck in ${sandbox.path}`);
  const held = hosts.flatMap((host) =>
    [...host.kernel].flatMap(([vm, undo]) =>
      vm.startsWith(`${id}.`) && undo.size > 0 ? [`${host.id}/${vm}: ${[...undo].sort().join(' ')}`] : [],
    ),
  );
  assert.deepEqual(held.sort(), ownedBy(sandbox), `what the kernels hold of ${id}, which is ${shown}`);
  assert.equal(reservations.has(id), shown === 'running', `reservation of ${id}, which is ${shown} (I6)`);
}

/** What kernels hold of a sandbox at rest: its VM, and the files of its last pause until it is paused again. */
function ownedBy({ ref, context, view }: Sandbox): string[] {
  const { host_id, incarnation, paused_incarnation } = context;
  const shown = status(view);
  const files = paused_incarnation > 0 ? [`${host_id}/${ref.id}.${paused_incarnation}: unroot`] : [];
  if (shown === 'running') return [...files, `${host_id}/${ref.id}.${incarnation}: kill unroot unslot`].sort();
  return shown === 'paused' || (shown === 'error' && !context.released) ? files : [];
}

function checkSnapshots({ hosts, snapshots }: Fleet): void {
  for (const { ref, path } of snapshots.values()) {
    assert(['ready', 'lingering', 'deleted'].includes(path), `${ref.id} is stuck in ${path}`);
  }
  const there = hosts.flatMap((host) => [...host.snapshots].map((id) => `${host.id}/${id}`));
  // One whose sandbox tells of it after its host was removed is a template that nobody is shown.
  const known = [...snapshots.values()].filter(
    ({ path, context }) => path === 'ready' && !hosts.some(({ id, ended }) => ended && id === context.host_id),
  );
  const wanted = known.map(({ ref, context }) => `${context.host_id}/${ref.id}`);
  assert.deepEqual(there.sort(), wanted.sort(), 'snapshots on the hosts, and those that are known');
}
