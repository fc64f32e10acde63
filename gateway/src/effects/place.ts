import type { PlaceFailed, PlaceInput, Reserved } from '@wrenn/actors';
import type { EffectHandler } from '@wrenn/core';
import type { Pool } from 'pg';
import { reserve, VMM_OVERHEAD_MB } from '../scheduler/reserve.ts';
import type { EffectContext } from './context.ts';

/**
 * `sandbox.place` and `sandbox.reserve`: tries the scheduler's hosts in their order (a paused sandbox has only its own);
 * reservation and transition to `starting` (or `restoring`) are one transaction. Returns null once that is committed,
 * since the transition has closed the effect.
 */
export function place({ sql, scheduler, runtime }: EffectContext): EffectHandler {
  return async (job, signal) => {
    const input = job.input as PlaceInput;
    const memoryMb = input.memory_mb + VMM_OVERHEAD_MB;
    const hosts = await scheduler.candidates(
      {
        teamId: input.team_id,
        template: input.template,
        vcpus: input.vcpus,
        memoryMb,
        excludedHosts: input.excluded_hosts,
        onlyHost: input.host_id,
      },
      signal,
    );
    for (const { hostId, storeId } of hosts) {
      const event: Reserved = { type: 'RESERVED', host_id: hostId, store_id: storeId };
      const outcome = await runtime().transact(job.actor, event, {
        messageId: `${job.key}:${hostId}`,
        cause: { type: 'effect', name: job.name, key: job.key },
        effectKey: job.key,
        signal,
        within: (tx) =>
          reserve(tx, {
            sandboxId: input.sandbox_id,
            incarnation: input.incarnation,
            hostId,
            vcpus: input.vcpus,
            memoryMb,
          }),
      });
      if (outcome === 'committed') return null;
    }
    const failed: PlaceFailed = {
      type: 'PLACE_FAILED',
      code: 'no_hosts_available',
      message: await noneLeft(sql, input),
    };
    return failed;
  };
}

async function noneLeft(sql: Pool, { host_id, excluded_hosts, vcpus, memory_mb }: PlaceInput): Promise<string> {
  if (host_id !== null) {
    if (excluded_hosts.includes(host_id))
      return `What it starts from lies on the host ${host_id}, which could not start it.`;
    const { rows } = await sql.query('select status from hosts where id = $1', [host_id]);
    const status: string = rows[0]?.status ?? 'gone';
    const why = status === 'online' ? `has no room for ${vcpus} vCPUs and ${memory_mb} MB now` : `is ${status}`;
    return `What it starts from lies on the host ${host_id}, which ${why}.`;
  }
  return excluded_hosts.length > 0
    ? 'The hosts that were tried failed to start it, and no other one has room.'
    : 'No host is online with room for it.';
}
