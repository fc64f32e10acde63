import { z } from 'zod';

/** Path and query parameters that the inspector's routes share. */

export const actorKind = z.enum(['sandbox', 'snapshot', 'host', 'vm']);

/** Of sandboxes, snapshots, hosts, of one start of a sandbox. */
const actorId = z
  .string()
  .regex(/^[a-z0-9]+([-.][a-z0-9]+)*$/, 'must be the id of an actor')
  .max(100);

export const actorRef = z.strictObject({ kind: actorKind, id: actorId });

export const all = z.stringbool().default(false).meta({ description: 'Of all teams; platform admins only' });
