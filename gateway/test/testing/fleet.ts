import { call, signUp, startGateway, type TestGateway } from '../gateway.ts';
import { BareAgent } from './bare-agent.ts';

export interface Fleet extends TestGateway {
  /** Stops the control plane and leaves the hosts, which must be closed by hand then. */
  stopGateway(): Promise<void>;
  /** An API key of a team of its own. */
  newKey(): Promise<string>;
  /** The agent of a host registers anew: the host is asked for all it has. */
  registerAgain(hostId: string, agent: BareAgent): Promise<void>;
  /** A registered host, online, with this capacity. */
  addHost(options?: {
    teamId?: string;
    vcpus?: number;
    memoryMb?: number;
    guest?: { ip: string; accessToken: string };
  }): Promise<{
    id: string;
    agent: BareAgent;
  }>;
}

/** A control plane to which hosts can be added that have no VMs; on a database of its own unless one is named. */
export async function startFleet(
  settings: Record<string, string> = {},
  options: { databaseUrl?: string } = {},
): Promise<Fleet> {
  const gateway = await startGateway({ settings, ...options });
  const agents: BareAgent[] = [];
  let hosts = 0;
  return {
    ...gateway,
    newKey: async () => {
      const { token } = await signUp(gateway);
      const answer = await call(gateway, 'POST', '/v1/api-keys', { token, body: { name: 'test' } });
      return answer.body.key as string;
    },
    addHost: async ({ teamId, vcpus = 8, memoryMb = 16_384, guest } = {}) => {
      const agent = await BareAgent.start(guest);
      agents.push(agent);
      hosts += 1;
      const id = `host-test${hosts}`;
      await register(gateway, { id, teamId: teamId ?? null, vcpus, memoryMb }, agent);
      return { id, agent };
    },
    registerAgain: (id, agent) => tellRegistered(gateway, { id, vcpus: 8, memoryMb: 16_384 }, agent),
    stopGateway: () => gateway.close(),
    close: async () => {
      await Promise.all(agents.map((agent) => agent.close()));
      await gateway.close();
    },
  };
}

/** As the registration route does it, with a secret that is known. */
async function register(
  gateway: TestGateway,
  { id, teamId, vcpus, memoryMb }: { id: string; teamId: string | null; vcpus: number; memoryMb: number },
  agent: BareAgent,
) {
  const { runtime, sql } = gateway.services;
  const cause = { type: 'system' } as const;
  const ref = { kind: 'host', id };
  await runtime.ask(ref, { type: 'CREATE', team_id: teamId, name: id, tags: [], created_by: 'test' }, { cause });
  await sql.query(`insert into host_credentials (host_id, family, control_plane_secret) values ($1, 'family', $2)`, [
    id,
    agent.secret,
  ]);
  await tellRegistered(gateway, { id, vcpus, memoryMb }, agent);
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const { rows } = await sql.query<{ status: string }>('select status from hosts where id = $1', [id]);
    if (rows[0]?.status === 'online') return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`${id} did not come online`);
}

async function tellRegistered(
  { services }: TestGateway,
  { id, vcpus, memoryMb }: { id: string; vcpus: number; memoryMb: number },
  agent: BareAgent,
): Promise<void> {
  const specs = { vcpus, memory_mb: memoryMb, disk_mb: 100_000, arch: 'x86_64', vmm: 'qemu', vmm_version: '10' };
  const day = 86_400_000;
  const expiry = { renew_at: Date.now() + day, expires_at: Date.now() + 7 * day };
  await services.runtime.tell(
    { kind: 'host', id },
    {
      type: 'REGISTERED',
      address: agent.address,
      specs: { ...specs, agent_version: '0', store: 'qcow2' },
      credentials: { ...expiry, cert_fingerprint: null, cert_expires_at: null },
      store_id: agent.storeId,
    },
    { cause: { type: 'system' } },
  );
}
