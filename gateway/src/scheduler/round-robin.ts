import { query } from '@wrenn/core';
import type { Pool } from 'pg';
import { z } from 'zod';
import type { Candidate, Placement, Scheduler } from './scheduler.ts';

const candidateRow = z.object({ id: z.string(), store_id: z.string().nullable() });

/** Each placement begins with the host after the one where the last began. The turn is this replica's own. */
export class RoundRobinScheduler implements Scheduler {
  readonly #sql: Pool;
  #last = '';

  constructor(sql: Pool) {
    this.#sql = sql;
  }

  async candidates(placement: Placement): Promise<readonly Candidate[]> {
    const hosts = await openHosts(this.#sql, placement);
    const after = hosts.findIndex(({ hostId }) => hostId > this.#last);
    const turn = after === -1 ? hosts : [...hosts.slice(after), ...hosts.slice(0, after)];
    if (turn[0]) this.#last = turn[0].hostId;
    return turn;
  }
}

/** Online hosts with room, by id. BYOC teams run on their own hosts only, all others on platform hosts only (H5). */
async function openHosts(sql: Pool, placement: Placement): Promise<Candidate[]> {
  const rows = await query(
    sql,
    candidateRow,
    `select h.id, h.store_id
       from hosts h
       left join lateral (
         select coalesce(sum(r.vcpus), 0) as vcpus, coalesce(sum(r.memory_mb), 0) as memory_mb
           from reservations r where r.host_id = h.id
       ) used on true
      where h.status = 'online'
        and h.team_id is not distinct from (select t.id from teams t where t.id = $1 and t.is_byoc)
        and not h.id = any ($2) and ($5::text is null or h.id = $5)
        and used.vcpus + $3 <= h.vcpus and used.memory_mb + $4 <= h.memory_mb
      order by h.id`,
    [placement.teamId, placement.excludedHosts, placement.vcpus, placement.memoryMb, placement.onlyHost],
  );
  return rows.map(({ id, store_id }) => ({ hostId: id, storeId: store_id }));
}
