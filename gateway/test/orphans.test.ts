import { VmStatus } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { call } from './gateway.ts';
import { type Fleet, startFleet } from './testing/fleet.ts';

let fleet: Fleet;
let key: string;

beforeAll(async () => {
  fleet = await startFleet({ WRENN_ORPHAN_GRACE_SEC: '0' });
  key = await fleet.newKey();
});
afterAll(() => fleet?.close());

const STRAY_VM = `sb${'1'.repeat(20)}`;
const STRAY_FILES = `sb${'2'.repeat(20)}`;

async function orphansOf(hostId: string) {
  const { rows } = await fleet.services.sql.query<{ orphans: { sandbox_id: string }[] }>(
    'select orphans from hosts where id = $1',
    [hostId],
  );
  return rows[0]?.orphans.map(({ sandbox_id }) => sandbox_id).sort();
}

test('H4: VMs that no sandbox owns are noted, and ended after the grace time; those with an owner, and files of unknown ones, stay', async () => {
  const { id, agent } = await fleet.addHost();
  const own = await call(fleet, 'POST', '/v1/sandboxes', { key });
  const paused = await call(fleet, 'POST', '/v1/sandboxes', { key });
  await call(fleet, 'POST', `/v1/sandboxes/${paused.body.id}/pause`, { key });
  const stopped = await call(fleet, 'POST', '/v1/sandboxes', { key });
  await call(fleet, 'DELETE', `/v1/sandboxes/${stopped.body.id}`, { key });

  agent.stray(STRAY_VM, VmStatus.READY);
  agent.stray(STRAY_FILES, VmStatus.PAUSED);
  agent.stray(stopped.body.id, VmStatus.PAUSED); // its destroy was given up: nobody can want these files
  await fleet.registerAgain(id, agent);
  await expect.poll(() => orphansOf(id)).toEqual([STRAY_VM, stopped.body.id].sort());
  const destroyed = () =>
    agent.commands.filter(({ name }) => name === 'destroy').map(({ command }) => command?.sandboxId);
  expect(destroyed()).not.toContain(STRAY_VM);

  await fleet.registerAgain(id, agent);
  await expect.poll(() => orphansOf(id)).toEqual([]);
  expect(new Set(destroyed())).toEqual(new Set([STRAY_VM, stopped.body.id]));
  expect(destroyed().filter((one) => one === stopped.body.id)).toHaveLength(2); // as it was asked for, and as an orphan
  expect(agent.vms.has(STRAY_VM)).toBe(false);
  expect(agent.vms.get(STRAY_FILES)?.status).toBe(VmStatus.PAUSED);
  const statusOf = async (sandbox: string) =>
    (await call(fleet, 'GET', `/v1/sandboxes/${sandbox}`, { key })).body.status;
  expect(await statusOf(own.body.id)).toBe('running');
  expect(await statusOf(paused.body.id)).toBe('paused');
  const { rows } = await fleet.services.sql.query(`select action from audit_logs where action = 'host.orphans_ended'`);
  expect(rows).toHaveLength(1);
});
