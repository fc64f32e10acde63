import { query } from '@wrenn/core';
import type { Pool } from 'pg';
import { z } from 'zod';
import type { AgentEndpoint } from './agent-connection.ts';

const endpointRow = z.object({ address: z.string(), control_plane_secret: z.string() });

/** Null where the host is not registered, or deleted. */
export async function loadEndpoint(sql: Pool, hostId: string): Promise<AgentEndpoint | null> {
  const [row] = await query(
    sql,
    endpointRow,
    `select h.address, c.control_plane_secret
       from hosts h join host_credentials c on c.host_id = h.id
      where h.id = $1 and h.address is not null and h.status <> 'deleted' and c.revoked_at is null`,
    [hostId],
  );
  return row ? { hostId, address: row.address, secret: row.control_plane_secret } : null;
}
