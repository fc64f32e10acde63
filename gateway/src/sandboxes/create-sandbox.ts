import { createHash, randomBytes } from 'node:crypto';
import type { SandboxCreate, SandboxSpec } from '@wrenn/actors';
import { queryOne, WrennError } from '@wrenn/core';
import type { Pool } from 'pg';
import { z } from 'zod';
import type { KeyAuth, UserAuth } from '../http/auth.ts';
import { badRequest } from '../http/problems.ts';
import { PLATFORM_TEAM_ID } from '../identity/ids.ts';
import type { Services } from '../services.ts';
import { USABLE } from '../templates/template-list.ts';
import { egress } from './egress-fields.ts';
import { usedBefore } from './idempotency.ts';
import { answered } from './sandbox-commands.ts';
import * as fields from './sandbox-fields.ts';
import { derivedSandboxId, newSandboxId } from './sandbox-id.ts';

/** VM10. */
export const createBody = z
  .strictObject({
    template: fields.template.default('minimal'),
    vcpus: fields.vcpus.optional().meta({ description: '1 to 8; default 1' }),
    memory_mb: fields.memoryMb.optional().meta({ description: "128 to 8192; default: the template's, or 512" }),
    disk_size_mb: fields.diskSizeMb
      .optional()
      .meta({ description: `${fields.DEFAULT_DISK_MB} to 102400; default ${fields.DEFAULT_DISK_MB}` }),
    timeout_sec: fields.timeoutSec.default(0),
    on_timeout: fields.onTimeout.default('pause'),
    ends_at: fields.endsAt.nullable().default(null),
    on_end: fields.onEnd.default('kill'),
    labels: fields.labels.default({}),
    envs: fields.envs.default({}),
    public_ports: fields.publicPorts.default([]),
    auto_resume: fields.autoResume.default(false),
    egress: egress.optional(),
  })
  .meta({ id: 'CreateSandbox' });
export type CreateBody = z.output<typeof createBody>;

const DEFAULT_VCPUS = 1;
const DEFAULT_MEMORY_MB = 512;

const templateRow = z.object({
  id: z.string(),
  host_id: z.string().nullable(),
  type: z.enum(['base', 'snapshot']),
  vcpus: z.number().nullable(),
  memory_mb: z.number().nullable(),
  disk_size_mb: z.number(),
});

/** Makes the sandbox; resolves with its id when it runs (`wait`) or as soon as it is accepted. */
export async function createSandbox(
  { sql, runtime }: Services,
  auth: KeyAuth | UserAuth,
  body: CreateBody,
  options: {
    readonly wait: boolean;
    readonly idempotencyKey: string | null;
    readonly signal: AbortSignal;
    /** Of the sandbox to be made, where it was chosen before; it must be a new one. */
    readonly id?: string;
  },
): Promise<string> {
  const key = options.idempotencyKey;
  const id = options.id ?? (key === null ? newSandboxId() : derivedSandboxId(auth.teamId, key));
  const origin = await originOf(sql, auth.teamId, body).catch(async (error) => {
    // Asked again it gets its first answer, whatever has become of its template since: what it would start from is not read.
    if (key === null || (await runtime.read({ kind: 'sandbox', id })) === null) throw error;
    return UNREAD;
  });
  const event: SandboxCreate = { type: 'CREATE', wait: options.wait, spec: specOf(auth, body, origin) };
  const answer = await runtime.ask({ kind: 'sandbox', id }, event, {
    cause: auth.cause,
    signal: options.signal,
    ...(key !== null && { messageId: idempotentMessageId(auth.teamId, key, body) }),
  });
  if (!answer.ok && answer.error.code === 'already_exists') {
    throw usedBefore();
  }
  // Deleted after it was looked up, and before its host started from it.
  if (!answer.ok && answer.error.code === 'snapshot_not_found') throw noTemplate(body.template);
  answered(answer);
  return id;
}

/** The same key with another body is another message, which the actor that is there refuses. */
function idempotentMessageId(teamId: string, key: string, body: CreateBody): string {
  const digest = createHash('sha256').update(JSON.stringify(body)).digest('base64url').slice(0, 22);
  return `idem:${teamId}:${key}:${digest}`;
}

/** What it starts from, and the size that follows. */
type Origin = Pick<SandboxSpec, 'vcpus' | 'memory_mb' | 'disk_size_mb' | 'snapshot'>;

/** Of a command that makes nothing. */
const UNREAD: Origin = { vcpus: 0, memory_mb: 0, disk_size_mb: 0, snapshot: null };

function noTemplate(name: string): WrennError {
  return new WrennError('template_not_found', `There is no template ${JSON.stringify(name)}.`);
}

/** A frozen VM has the size it was frozen with: other values are refused, not ignored (SN9). */
async function originOf(sql: Pool, teamId: string, body: CreateBody): Promise<Origin> {
  const row = await queryOne(
    sql,
    templateRow,
    `select id, type, host_id, vcpus, memory_mb, disk_size_mb from templates
      where name = $1 and team_id = any ($2) and ${USABLE} order by team_id = $3 desc limit 1`,
    [body.template, [teamId, PLATFORM_TEAM_ID], teamId],
  );
  if (!row) throw noTemplate(body.template);
  if (row.type === 'base') {
    return {
      vcpus: body.vcpus ?? DEFAULT_VCPUS,
      memory_mb: body.memory_mb ?? row.memory_mb ?? DEFAULT_MEMORY_MB,
      disk_size_mb: body.disk_size_mb ?? fields.DEFAULT_DISK_MB,
      snapshot: null,
    };
  }
  for (const name of ['vcpus', 'memory_mb', 'disk_size_mb'] as const) {
    if (body[name] !== undefined && row[name] !== null && body[name] !== row[name]) {
      throw badRequest(`${name}: the template has ${row[name]}`);
    }
  }
  return {
    vcpus: row.vcpus ?? DEFAULT_VCPUS,
    memory_mb: row.memory_mb ?? DEFAULT_MEMORY_MB,
    disk_size_mb: row.disk_size_mb,
    snapshot: row.host_id === null ? null : { id: row.id, host_id: row.host_id, ephemeral: false },
  };
}

/** 256 bits, in characters that go into headers and URLs as they are. */
const secret = () => randomBytes(32).toString('base64url');

function specOf(auth: KeyAuth | UserAuth, body: CreateBody, origin: Origin): SandboxSpec {
  return {
    team_id: auth.teamId,
    template: body.template,
    ...origin,
    timeout_sec: body.timeout_sec,
    on_timeout: body.on_timeout,
    ends_at: body.ends_at === null ? null : Date.parse(body.ends_at),
    on_end: body.on_end,
    labels: body.labels,
    envs: body.envs,
    public_ports: body.public_ports,
    auto_resume: body.auto_resume,
    egress: body.egress ?? null,
    access_token: secret(),
    traffic_token: secret(),
    created_by: auth.kind === 'K' ? auth.keyId : auth.userId,
  };
}
