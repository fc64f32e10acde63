import type { LegalCommand } from '@wrenn/core';
import { z } from 'zod';

const time = z.iso.datetime();
const reason = z.object({ code: z.string(), message: z.string() });

export const sandboxStatus = z.enum([
  'pending',
  'starting',
  'running',
  'pausing',
  'paused',
  'resuming',
  'missing',
  'stopping',
  'stopped',
  'error',
]);

/** The REST object of API1. `traffic_token` is for the owner team only, and no one else sees the object. */
export const sandboxObject = z
  .object({
    id: z.string(),
    status: sandboxStatus,
    reason: reason.optional(),
    template: z.string(),
    vcpus: z.int(),
    memory_mb: z.int(),
    disk_size_mb: z.int(),
    timeout_sec: z.int(),
    on_timeout: z.enum(['pause', 'destroy']),
    ends_at: time.nullable(),
    on_end: z.enum(['kill', 'pause']).nullable(),
    labels: z.record(z.string(), z.string()),
    public_ports: z.union([z.array(z.int()), z.literal('all')]),
    auto_resume: z.boolean(),
    host_id: z.string().nullable(),
    host_ip: z.string().nullable(),
    guest_ip: z.string().nullable(),
    created_at: time,
    started_at: time.nullable(),
    last_active_at: time.nullable(),
    paused_at: time.nullable().meta({ description: 'When it was last paused' }),
    snapshot: z
      .object({ memory_bytes: z.int(), disk_bytes: z.int() })
      .optional()
      .meta({ description: 'Of a paused one: what it holds on its host, in allocated bytes' }),
    unreachable: z.boolean().meta({ description: 'Paused on a host that is away now' }),
    operation: z.enum(['none', 'snapshotting', 'forking']).meta({ description: 'What is being made of it' }),
    status_since: time,
    legal_commands: z.array(z.string()).meta({ description: 'Commands that would be accepted now' }),
    traffic_token: z.string().optional(),
  })
  .meta({ id: 'Sandbox' });

export type SandboxObject = z.output<typeof sandboxObject>;

const iso = z.date().transform((date) => date.toISOString());

/** One row of `sandboxes`, as `pg` reads it. */
export const sandboxRow = z.object({
  id: z.string(),
  team_id: z.string(),
  status: sandboxStatus,
  status_since: iso,
  reason: reason.nullable(),
  template: z.string(),
  vcpus: z.int(),
  memory_mb: z.int(),
  disk_size_mb: z.int(),
  timeout_sec: z.int(),
  on_timeout: z.enum(['pause', 'destroy']),
  ends_at: iso.nullable(),
  on_end: z.enum(['kill', 'pause']).nullable(),
  labels: z.record(z.string(), z.string()),
  public_ports: z.union([z.array(z.int()), z.literal('all')]).nullable(),
  auto_resume: z.boolean(),
  host_id: z.string().nullable(),
  host_ip: z.string().nullable(),
  guest_ip: z.string().nullable(),
  traffic_token: z.string(),
  created_at: iso,
  started_at: iso.nullable(),
  last_active_at: iso.nullable(),
  paused_at: iso.nullable(),
  snapshot_memory_bytes: z.coerce.number().nullable(),
  snapshot_disk_bytes: z.coerce.number().nullable(),
  unreachable: z.boolean(),
  operation: z.enum(['none', 'snapshotting', 'forking']),
});
export type SandboxRow = z.output<typeof sandboxRow>;

export const SANDBOX_ROW_COLUMNS = Object.keys(sandboxRow.shape).join(', ');

export function toSandboxObject(row: SandboxRow, commands: readonly LegalCommand[]): SandboxObject {
  const {
    team_id: _team,
    reason: why,
    public_ports,
    snapshot_memory_bytes: memory_bytes,
    snapshot_disk_bytes: disk_bytes,
    ...shown
  } = row;
  const isPaused = row.status === 'paused' && memory_bytes !== null && disk_bytes !== null;
  return {
    ...shown,
    ...(why && { reason: why }),
    ...(isPaused && { snapshot: { memory_bytes, disk_bytes } }),
    public_ports: public_ports ?? [],
    legal_commands: commands.filter(({ legal }) => legal).map(({ type }) => type),
  };
}
