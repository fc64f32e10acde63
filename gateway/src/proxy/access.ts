import { timingSafeEqual } from 'node:crypto';
import type { SandboxRoute } from '../sandboxes/sandbox-routes.ts';
import { GUEST_AGENT_PORT } from './address.ts';
import { failures } from './failure.ts';
import type { KeyTeams } from './key-teams.ts';
import type { Credentials } from './request-fields.ts';
import { type Grant, verify } from './signed-link.ts';

export interface Claim extends Credentials {
  /** Of a signed link, or of the cookie that one set. */
  readonly grant: Grant | null;
}

/**
 * Lets a request to a port through, or throws (PX1). A user's token is never looked at: `Authorization` belongs to the
 * guest's own programs. The guest agent's port asks for its own token, behind us.
 */
export async function checkAccess(route: SandboxRoute, port: number, claim: Claim, keys: KeyTeams): Promise<void> {
  const { sandboxId, publicPorts, trafficToken } = route;
  if (port === GUEST_AGENT_PORT || publicPorts === 'all' || publicPorts.includes(port)) return;
  if (claim.trafficToken !== null) {
    if (same(claim.trafficToken, trafficToken)) return;
    throw failures.forbidden(sandboxId, port, 'Invalid traffic access token');
  }
  if (claim.apiKey !== null) {
    const team = await keys.teamOf(claim.apiKey);
    if (team === route.teamId) return;
    throw team === null ? failures.unauthorized(sandboxId, port) : failures.unknown(sandboxId);
  }
  if (claim.grant !== null) {
    const verdict = verify(claim.grant, trafficToken, sandboxId, port);
    if (verdict === 'valid') return;
    throw failures.forbidden(
      sandboxId,
      port,
      verdict === 'expired' ? 'The link has expired.' : 'The link is not valid.',
    );
  }
  throw failures.unauthorized(sandboxId, port);
}

function same(a: string, b: string): boolean {
  const [one, other] = [Buffer.from(a), Buffer.from(b)];
  return one.length === other.length && timingSafeEqual(one, other);
}
