import type { Command } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { vmIdOf } from '../incarnations.ts';
import { failure } from './failure.ts';

/** Spec §0, "Ids". A sandbox id becomes part of paths and names. */
const SANDBOX_ID = /^sb[a-z0-9]{20}$/;

/** It becomes the name of a folder. */
const SNAPSHOT_ID = /^[a-z0-9-]{1,64}$/;

export interface CheckedCommand {
  readonly sandboxId: string;
  readonly incarnation: number;
  readonly vmId: string;
  readonly key: string;
  readonly epoch: number;
  readonly budgetMs: number;
}

export function checkSandboxId(sandboxId: string): string {
  if (!SANDBOX_ID.test(sandboxId)) throw failure('invalid_id', `not a sandbox id: ${JSON.stringify(sandboxId)}`);
  return sandboxId;
}

export function checkSnapshotId(snapshotId: string): string {
  if (SNAPSHOT_ID.test(snapshotId)) return snapshotId;
  throw failure('invalid_id', `not a snapshot id: ${JSON.stringify(snapshotId)}`);
}

/** A command as the rest may rely on it. */
export function checkCommand(command: Command | undefined): CheckedCommand {
  if (command === undefined) throw failure('bad_request', 'command is missing');
  const sandboxId = checkSandboxId(command.sandboxId);
  const { incarnation, key, budgetMs } = command;
  if (incarnation < 1) throw failure('bad_request', 'command.incarnation is missing');
  if (key === '' || key.length > 200) throw failure('bad_request', 'command.key must have 1 to 200 characters');
  const epoch = Number(command.epoch);
  if (!Number.isSafeInteger(epoch)) throw failure('out_of_range', 'command.epoch is too large');
  return { sandboxId, incarnation, vmId: vmIdOf(sandboxId, incarnation), key, epoch, budgetMs };
}
