import { create } from '@bufbuild/protobuf';
import { vmStatus } from '@wrenn/actors';
import {
  type ResumeSandboxRequest,
  type ResumeSandboxResponse,
  ResumeSandboxResponseSchema,
} from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { vmIdOf } from '../incarnations.ts';
import { checkCommand } from './command.ts';
import type { ServiceContext } from './context.ts';
import { start } from './create-sandbox.ts';
import { failure } from './failure.ts';
import { checkSpec } from './spec.ts';

/** Starts the next incarnation from a paused one, which stays as it is until the new one is paused itself. */
export async function resumeSandbox(
  context: ServiceContext,
  request: ResumeSandboxRequest,
  signal: AbortSignal,
): Promise<ResumeSandboxResponse> {
  const command = checkCommand(request.command);
  const spec = checkSpec(request.spec, command.sandboxId);
  const { fromIncarnation: from } = request;
  if (from < 1 || from >= command.incarnation) {
    throw failure('bad_request', 'from_incarnation must be an earlier one than the command’s');
  }
  // One that was started before may have been superseded meanwhile: it is asked for all the same, and joins or is buried.
  const known = await context.journal.read(command.vmId);
  const paused = known === null ? await context.journal.read(vmIdOf(command.sandboxId, from)) : null;
  if (known === null && (paused === null || vmStatus(paused) !== 'paused')) {
    throw failure('not_paused', `incarnation ${from} is not paused on this host`);
  }
  const report = await start(context, command, spec, { kind: 'paused', incarnation: from }, signal);
  return create(ResumeSandboxResponseSchema, { report });
}
