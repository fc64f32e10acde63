import { type Logger, query } from '@wrenn/core';
import { z } from 'zod';
import { Periodic } from '../periodic.ts';
import { type EgressServices, enforceEgress } from './enforce-egress.ts';

/** Between two looks; nobody waits for them. */
const REVIEW_MS = 2_000;
/** A change younger than this is still in the hands of the request that makes it. Each further try waits as long. */
const OWN_TIME_SEC = 10;
/** Of one look: a host that hangs costs 5 s for each. */
const BATCH = 50;

const row = z.object({ sandbox_id: z.string() });

/**
 * Repeats changes of egress policies that no host has confirmed (NET4): the host was away, the sandbox was just starting,
 * or the replica died in between. On every replica; twice is harmless.
 */
export function egressKeeper(services: EgressServices, log: Logger): Periodic {
  const look = (signal: AbortSignal) =>
    review(services, log, signal).catch((err) => log.warn({ err }, 'egress policies cannot be looked after'));
  return new Periodic(look, () => REVIEW_MS);
}

async function review(services: EgressServices, log: Logger, signal: AbortSignal): Promise<void> {
  const open = await query(
    services.sql,
    row,
    `select sandbox_id from egress_changes where noted_at < now() - make_interval(secs => $1)
      order by noted_at limit $2`,
    [OWN_TIME_SEC, BATCH],
  );
  for (const { sandbox_id: id } of open) {
    if (signal.aborted) return;
    try {
      await enforceEgress(services, id);
    } catch (err) {
      log.warn({ err, sandbox: id }, 'an egress policy is not in force on its host yet');
    }
  }
}
