import type { HostCommand } from '@wrenn/actors';
import { queryOne, WrennError } from '@wrenn/core';
import { z } from 'zod';
import { findHost } from '../hosts/hosts.ts';
import { tags } from '../hosts/schemas.ts';
import type { KeyAuth, UserAuth } from '../http/auth.ts';
import { forbidden, notFound } from '../http/problems.ts';
import { validate } from '../http/validate.ts';
import {
  destroySandbox,
  patchBody,
  patchSandbox,
  pauseSandbox,
  pingSandbox,
  resumeSandbox,
} from '../sandboxes/change-sandbox.ts';
import { forkBody, forkSandbox } from '../sandboxes/fork-sandbox.ts';
import { answered } from '../sandboxes/sandbox-commands.ts';
import type { Services } from '../services.ts';
import { createSnapshot, deleteSnapshot, snapshotBody } from '../snapshots/snapshots.ts';

/** A command of the inspector: `type`, and the fields that its REST verb takes. */
export interface ActorCommand {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** Does what the REST verb does, with its checks and its audit (API11). */
export async function commandActor(
  services: Services,
  auth: KeyAuth | UserAuth,
  ref: { readonly kind: string; readonly id: string; readonly teamId: string | null },
  command: ActorCommand,
  signal: AbortSignal,
): Promise<void> {
  if (ref.kind === 'sandbox') return commandSandbox(services, auth, ref, command, signal);
  if (ref.kind === 'snapshot') return commandSnapshot(services, auth, ref.id, command, signal);
  if (ref.kind === 'host') return commandHost(services, auth, ref.id, command, signal);
  throw unknownCommand(ref.kind, command.type);
}

async function commandSandbox(
  services: Services,
  auth: KeyAuth | UserAuth,
  ref: { readonly id: string; readonly teamId: string | null },
  { type, ...fields }: ActorCommand,
  signal: AbortSignal,
): Promise<void> {
  const target = { id: ref.id, teamId: ref.teamId ?? auth.teamId, cause: auth.cause, signal };
  switch (type) {
    case 'DESTROY': {
      const { wait } = validate(z.strictObject({ wait: z.boolean().default(true) }), fields, 'body');
      return destroySandbox(services, target, wait);
    }
    case 'PATCH':
      return patchSandbox(services, target, validate(patchBody, fields, 'body'));
    case 'PING':
      validate(z.strictObject({}), fields, 'body');
      return pingSandbox(services, target);
    case 'PAUSE':
      validate(z.strictObject({}), fields, 'body');
      return pauseSandbox(services, target);
    case 'RESUME':
      validate(z.strictObject({}), fields, 'body');
      return resumeSandbox(services, target);
    case 'FORK': {
      const createdBy = auth.kind === 'K' ? auth.keyId : auth.userId;
      await forkSandbox(services, target, { ...validate(forkBody, fields, 'body'), createdBy });
      return;
    }
    case 'SNAPSHOT':
      await createSnapshot(services, auth, validate(snapshotBody, { sandbox_id: ref.id, ...fields }, 'body'), {
        signal,
      });
      return;
    default:
      throw unknownCommand('sandbox', type);
  }
}

/** The REST verb knows a snapshot by its name. */
async function commandSnapshot(
  services: Services,
  auth: KeyAuth | UserAuth,
  id: string,
  { type, ...fields }: ActorCommand,
  signal: AbortSignal,
): Promise<void> {
  if (type !== 'DELETE') throw unknownCommand('snapshot', type);
  validate(z.strictObject({}), fields, 'body');
  const named = z.object({ name: z.string() });
  const row = await queryOne(services.sql, named, 'select name from templates where id = $1', [id]);
  if (!row) throw notFound('No such snapshot.');
  return deleteSnapshot(services, auth, row.name, signal);
}

const hostCommands = {
  DRAIN: z.strictObject({}),
  UNDRAIN: z.strictObject({}),
  SET_TAGS: z.strictObject({ tags }),
  DELETE: z.strictObject({ force: z.boolean().default(false) }),
} as const;

async function commandHost(
  services: Services,
  auth: KeyAuth | UserAuth,
  hostId: string,
  { type, ...fields }: ActorCommand,
  signal: AbortSignal,
): Promise<void> {
  if (auth.kind === 'K') throw forbidden('A key may not command hosts.');
  if (!Object.hasOwn(hostCommands, type)) throw unknownCommand('host', type);
  const schema = hostCommands[type as keyof typeof hostCommands];
  await findHost(services.sql, auth, hostId, 'manage');
  const event = { type, ...validate(schema, fields, 'body') } as HostCommand;
  answered(await services.runtime.ask({ kind: 'host', id: hostId }, event, { cause: auth.cause, signal }));
}

function unknownCommand(kind: string, type: string): WrennError {
  return new WrennError('bad_request', `type: ${JSON.stringify(type)} is no command for a ${kind} here`);
}
