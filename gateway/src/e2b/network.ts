import type { z } from 'zod';
import { type CommandTarget, patchSandbox } from '../sandboxes/change-sandbox.ts';
import type { Services } from '../services.ts';
import { mustFindE2b } from './create-e2b.ts';
import { replaceNetwork } from './e2b-row.ts';
import { egressOf } from './egress.ts';
import type { networkBody } from './fields.ts';

/** All of the old configuration goes; who may reach its ports stays as it was. Resolves when it is in force. */
export async function replaceNetworkE2b(
  services: Services,
  target: CommandTarget,
  body: z.output<typeof networkBody>,
): Promise<void> {
  const row = await mustFindE2b(services, target.teamId, target.id);
  const { allow_internet_access: allowInternet = null, ...network } = body;
  const egress = egressOf(network, allowInternet);
  const { allowPublicTraffic, maskRequestHost } = row.network;
  const kept = {
    ...(allowPublicTraffic != null && { allowPublicTraffic }),
    ...(maskRequestHost != null && { maskRequestHost }),
  };
  await replaceNetwork(services.sql, target.id, { ...network, ...kept, egressProxy: undefined }, allowInternet);
  await patchSandbox(services, target, { egress });
}
