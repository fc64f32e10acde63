import { create } from '@bufbuild/protobuf';
import {
  type SetEgressRequest,
  type SetEgressResponse,
  SetEgressResponseSchema,
} from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { checkSandboxId } from './command.ts';
import { requireReady, type ServiceContext } from './context.ts';
import { checkEgress } from './spec.ts';

/** NET4: what a running guest may reach from now on. The control plane keeps it and sends it with each start. */
export async function setEgress(context: ServiceContext, request: SetEgressRequest): Promise<SetEgressResponse> {
  const { vmId } = requireReady(context, checkSandboxId(request.sandboxId), request.incarnation);
  await context.slots.restrict(vmId, request.egress ? checkEgress(request.egress) : null);
  return create(SetEgressResponseSchema, {});
}
