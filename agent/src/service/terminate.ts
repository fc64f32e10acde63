import { create } from '@bufbuild/protobuf';
import {
  type TerminateRequest,
  type TerminateResponse,
  TerminateResponseSchema,
} from '@wrenn/proto/hostagent/v1/hostagent_pb';
import type { ServiceContext } from './context.ts';

/** Destroys every sandbox of this host and ends the agent (AG6). */
export async function terminate(
  context: ServiceContext,
  _: TerminateRequest,
  signal: AbortSignal,
): Promise<TerminateResponse> {
  return create(TerminateResponseSchema, { destroyed: await context.terminate(signal) });
}
