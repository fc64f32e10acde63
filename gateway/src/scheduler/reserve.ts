import type { Transaction } from '@wrenn/core';

/** Memory of a VMM process beside its guest's (design.md §5). */
export const VMM_OVERHEAD_MB = 64;

export interface Reservation {
  readonly sandboxId: string;
  readonly incarnation: number;
  readonly hostId: string;
  readonly vcpus: number;
  readonly memoryMb: number;
}

/**
 * Takes capacity on a host inside the transaction that moves the sandbox to `starting` or `restoring` (I6). False where the host is not
 * online or full, or the sandbox does not wait for it any more. The host's row is locked first, in a statement of its own:
 * the sum must be read after the lock is held.
 */
export async function reserve(tx: Transaction, { sandboxId, incarnation, hostId, vcpus, memoryMb }: Reservation) {
  const host = await tx.query(`select 1 from hosts where id = $1 and status = 'online' for update`, [hostId]);
  if (host.rows.length === 0) return false;
  const taken = await tx.query(
    `insert into reservations (sandbox_id, incarnation, host_id, vcpus, memory_mb)
     select s.id, $2::int, h.id, $4::int, $5::int
       from hosts h, sandboxes s
      where h.id = $3 and s.id = $1 and s.status in ('pending', 'resuming') and s.incarnation = $2::int
        and (select coalesce(sum(r.vcpus), 0) from reservations r where r.host_id = h.id) + $4::int <= h.vcpus
        and (select coalesce(sum(r.memory_mb), 0) from reservations r where r.host_id = h.id) + $5::int <= h.memory_mb
     on conflict (sandbox_id) do update
       set incarnation = excluded.incarnation, host_id = excluded.host_id,
           vcpus = excluded.vcpus, memory_mb = excluded.memory_mb
     returning sandbox_id`,
    [sandboxId, incarnation, hostId, vcpus, memoryMb],
  );
  return taken.rows.length === 1;
}
