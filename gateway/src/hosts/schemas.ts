import { isIP } from 'node:net';
import { z } from 'zod';
import { id, line, timestamp } from '../http/schemas.ts';
import { REGISTRATION_TOKEN } from './registration-tokens.ts';

/** What an agent says of its machine; the rest of the world may read it. */
const specs = z.strictObject({
  vcpus: z.int().min(1).max(65_536),
  memory_mb: z
    .int()
    .min(1)
    .max(1 << 30),
  disk_mb: z.int().min(0),
  arch: line(50),
  vmm: line(50),
  vmm_version: line(200, 0),
  agent_version: line(50),
  store: line(50),
});

/** `ip:port`, IPv6 in brackets. */
const address = z
  .string()
  .max(60)
  .refine((text) => {
    const [, bracketed, plain, port] = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(text) ?? [];
    const known = isIP(bracketed ?? plain ?? '') === (bracketed === undefined ? 4 : 6);
    return known && Number(port) >= 1 && Number(port) <= 65_535;
  }, 'must be ip:port')
  .meta({ examples: ['192.0.2.7:50051'] });

export const tags = z.array(line(50)).max(32);

export const newHost = z.strictObject({
  name: line(100),
  tags: tags.default([]),
  byoc: z.boolean().default(false).meta({ description: "The team's own host; else a platform host" }),
});

export const registration = z.strictObject({
  token: z.string().regex(REGISTRATION_TOKEN, 'must be 64 hex digits'),
  address,
  specs,
  csr_pem: z.string().max(10_000).nullish().meta({ description: 'Certificate request; unused while there is no CA' }),
  store_id: line(100).optional(),
});

export const heartbeat = z.strictObject({
  store_id: line(100),
  cursor: z.int().min(0),
  vms: z.int().min(0),
  load: z.record(z.string().max(50), z.number()),
  specs: specs.optional().meta({ description: "With the first one after the agent's start" }),
});

export const credentials = z
  .object({
    host_id: id('host'),
    jwt: z.string().meta({ description: 'Good for 7 days' }),
    jwt_expires_at: timestamp,
    renew_at: timestamp.meta({ description: 'Refresh then, before the token expires' }),
    refresh_token: z.string().meta({ description: 'Good once, for 60 days' }),
    cert_pem: z.string().nullable(),
    ca_cert_pem: z.string().nullable(),
    control_plane_secret: z.string().meta({ description: 'By it the agent knows the control plane' }),
  })
  .meta({ id: 'HostCredentials' });

export const host = z
  .object({
    id: id('host'),
    name: z.string(),
    status: z.enum(['pending', 'online', 'unreachable', 'draining', 'deleted']),
    status_since: timestamp,
    byoc: z.boolean(),
    address: z.string().nullable(),
    tags,
    specs: specs.nullable(),
    vcpus: z.int().meta({ description: 'Capacity' }),
    memory_mb: z.int(),
    reserved: z.object({ sandboxes: z.int(), vcpus: z.int(), memory_mb: z.int() }),
    vms: z.int().meta({ description: 'As the last heartbeat said' }),
    load: z.record(z.string(), z.number()),
    orphans: z
      .array(z.object({ sandbox_id: z.string(), incarnation: z.int(), since: timestamp }))
      .meta({ description: 'VMs there that no sandbox owns; they are ended after a grace time' }),
    last_heartbeat_at: timestamp.nullable(),
    credentials_expire_at: timestamp.nullable(),
    created_at: timestamp,
    registered_at: timestamp.nullable(),
  })
  .meta({ id: 'Host' });

export const hostWithToken = z
  .object({ host, registration_token: z.string(), expires_at: timestamp })
  .meta({ id: 'HostWithToken' });
