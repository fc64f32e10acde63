import { call } from '../gateway.ts';
import type { BareAgent } from './bare-agent.ts';
import { startEnvd } from './envd.ts';
import { type Fleet, startFleet } from './fleet.ts';

/** A fleet whose host has a real guest agent behind each of its sandboxes, and one of these. */
export interface GuestFleet {
  readonly fleet: Fleet;
  readonly agent: BareAgent;
  /** Of the sandbox's team. */
  readonly key: string;
  readonly id: string;
  /** To a path of the sandbox. */
  post(path: string, body: unknown, by?: string): ReturnType<typeof call>;
  close(): Promise<void>;
}

/** `ip`: the guest agent's; each test file has one of its own. */
export async function startGuestFleet(ip: string): Promise<GuestFleet> {
  const [fleet, envd] = await Promise.all([startFleet(), startEnvd(ip)]);
  const { agent } = await fleet.addHost({ guest: envd });
  const key = await fleet.newKey();
  const { id } = (await call(fleet, 'POST', '/v1/sandboxes', { key })).body;
  return {
    ...{ fleet, agent, key, id },
    post: (path, body, by = key) => call(fleet, 'POST', `/v1/sandboxes/${id}${path}`, { key: by, body }),
    close: async () => {
      await fleet.close();
      await envd.close();
    },
  };
}
