import { isDeepStrictEqual } from 'node:util';
import type { SandboxContext } from '@wrenn/actors';
import { type ActorView, queryOne } from '@wrenn/core';
import type { Pool } from 'pg';
import { z } from 'zod';
import { fromAgent } from '../agents/agent-error.ts';
import type { Services } from '../services.ts';

/** A rule is exchanged in milliseconds. */
const TIMEOUT_MS = 5_000;
/** Policies that change faster than they are sent are left to the next look. */
const MOST_ROUNDS = 5;

export type EgressServices = Pick<Services, 'sql' | 'runtime' | 'agents'>;

const noted = z.object({ change: z.uuid() });

/** Its policy is about to be changed: from now on somebody sees to it that it gets in force, whatever happens here. */
export async function noteEgressChange(sql: Pool, sandboxId: string): Promise<string> {
  const row = await queryOne(
    sql,
    noted,
    `insert into egress_changes (sandbox_id, change) values ($1, gen_random_uuid())
      on conflict (sandbox_id) do update set change = excluded.change, noted_at = now()
      returning change`,
    [sandboxId],
  );
  if (!row) throw new Error('an insert that returns nothing');
  return row.change;
}

/**
 * Puts the policy that a sandbox's actor has in force where it runs now (NET4); every later start brings it along. Throws
 * where the host does not confirm it: then it is repeated by itself (`egressKeeper`), and may be by the caller.
 */
export async function enforceEgress(services: EgressServices, sandboxId: string): Promise<void> {
  const change = await noteEgressChange(services.sql, sandboxId);
  for (let round = 0; round < MOST_ROUNDS; round += 1) {
    const sent = await read(services, sandboxId);
    if (sent === 'later') return;
    if (sent !== 'never') await send(services, sandboxId, sent);
    // Somebody else may have sent a newer one before this: whoever sends last must have sent the newest.
    if (isDeepStrictEqual(await read(services, sandboxId), sent)) {
      await services.sql.query('delete from egress_changes where sandbox_id = $1 and change = $2', [sandboxId, change]);
      return;
    }
  }
}

interface Wanted {
  readonly hostId: string;
  readonly incarnation: number;
  readonly egress: { readonly allow: string[]; readonly deny: string[] };
}

/** `never`: it runs nowhere. `later`: a start or pause under way may have been given the policy before. */
async function read({ runtime }: EgressServices, sandboxId: string): Promise<Wanted | 'never' | 'later'> {
  const view = (await runtime.read({ kind: 'sandbox', id: sandboxId })) as ActorView<SandboxContext> | null;
  if (view === null) return 'never';
  const { status, host_id: hostId, incarnation, spec } = view.context;
  if (status === 'paused' || status === 'stopped' || status === 'error') return 'never';
  if (status !== 'running' || hostId === null) return 'later';
  return { hostId, incarnation, egress: spec.egress ?? { allow: [], deny: [] } };
}

async function send({ agents }: EgressServices, sandboxId: string, wanted: Wanted): Promise<void> {
  const { hostId, incarnation, egress } = wanted;
  try {
    const agent = await agents.connect(hostId);
    await agent.rpc.setEgress({ sandboxId, incarnation, egress }, { timeoutMs: TIMEOUT_MS });
  } catch (error) {
    throw fromAgent(error);
  }
}
