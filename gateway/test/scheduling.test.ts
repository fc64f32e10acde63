import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { call } from './gateway.ts';
import { BareAgent } from './testing/bare-agent.ts';
import { type Fleet, startFleet } from './testing/fleet.ts';

let fleet: Fleet;
let key: string;

beforeAll(async () => {
  fleet = await startFleet();
  key = await fleet.newKey();
});
afterAll(() => fleet?.close());

const create = async (by = key) => (await call(fleet, 'POST', '/v1/sandboxes', { key: by })).body;
const cause = { type: 'system' } as const;

describe('hosts (H5, H8)', () => {
  test('take turns; one that drains takes nothing new; one that fails is passed over', async () => {
    const [one, two] = [await fleet.addHost(), await fleet.addHost()];
    const used = [await create(), await create(), await create(), await create()].map(({ host_id }) => host_id);
    expect(used).toEqual([one.id, two.id, one.id, two.id]);

    await fleet.services.runtime.ask({ kind: 'host', id: one.id }, { type: 'DRAIN' }, { cause });
    expect([await create(), await create()].map(({ host_id }) => host_id)).toEqual([two.id, two.id]);
    await fleet.services.runtime.ask({ kind: 'host', id: one.id }, { type: 'UNDRAIN' }, { cause });

    one.agent.nextStart = 'no_slots';
    two.agent.nextStart = 'ready';
    const placed = [await create(), await create()];
    expect(placed.map(({ status }) => status)).toEqual(['running', 'running']);
    expect(placed.map(({ host_id }) => host_id)).toContain(two.id);
  });

  test('a BYOC team runs on its own hosts only, and no one else does', async () => {
    const byoc = await fleet.newKey();
    const { rows } = await fleet.services.sql.query<{ team_id: string }>(
      'select team_id from api_keys order by created_at desc limit 1',
    );
    const teamId = rows[0]?.team_id as string;
    await fleet.services.sql.query('update teams set is_byoc = true where id = $1', [teamId]);
    const answer = await call(fleet, 'POST', '/v1/sandboxes', { key: byoc });
    expect(answer.body.error.code).toBe('no_hosts_available');
    const own = await fleet.addHost({ teamId });
    expect((await create(byoc)).host_id).toBe(own.id);
    expect([await create(), await create(), await create()].map(({ host_id }) => host_id)).not.toContain(own.id);
  });

  test('a host that comes back under another address is called there', async () => {
    const { id, agent } = await fleet.addHost();
    const { services } = fleet;
    const first = await services.agents.connect(id);
    expect(first.endpoint.address).toBe(agent.address);
    const moved = await BareAgent.start();
    try {
      await services.sql.query('update host_credentials set control_plane_secret = $2 where host_id = $1', [
        id,
        moved.secret,
      ]);
      const { rows } = await services.sql.query('select specs from hosts where id = $1', [id]);
      await services.runtime.tell(
        { kind: 'host', id },
        {
          type: 'REGISTERED',
          address: moved.address,
          specs: rows[0].specs,
          credentials: {
            renew_at: Date.now() + 1e8,
            expires_at: Date.now() + 2e8,
            cert_fingerprint: null,
            cert_expires_at: null,
          },
          store_id: moved.storeId,
        },
        { cause },
      );
      await expect.poll(async () => (await services.agents.connect(id)).endpoint.address).toBe(moved.address);
      const again = await services.agents.connect(id);
      expect(again).toBe(await services.agents.connect(id));
    } finally {
      await moved.close();
    }
  });
});
