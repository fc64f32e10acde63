import { timingSafeEqual } from 'node:crypto';
import type { SandboxRoute } from '../sandboxes/sandbox-routes.ts';
import { GUEST_AGENT_PORT } from './address.ts';
import { failures } from './failure.ts';
import type { KeyTeams } from './key-teams.ts';
import type { Credentials } from './question.ts';
import { type Grant, verify } from './signed-link.ts';

export interface Claim extends Credentials {
  /** Of a signed link, or of the cookie that one set. */
  readonly grant: Grant | null;
}

/**
 * Lets a request to a port through, or throws (PX1); a promise only where the database must be asked. A user's token is never looked at: `Authorization` belongs to the
 * guest's own programs. The guest agent's port asks for its own token, behind us.
 */
export function checkAccess(
  route: SandboxRoute,
  port: number,
  claim: Claim,
  keys: KeyTeams,
): undefined | Promise<void> {
  const { sandboxId, publicPorts, trafficToken } = route;
  if (port === GUEST_AGENT_PORT || publicPorts === 'all' || publicPorts.includes(port)) return undefined;
  if (claim.trafficToken !== null) {
    if (same(claim.trafficToken, trafficToken)) return undefined;
    throw failures.forbidden(sandboxId, port, 'Invalid traffic access token');
  }
  if (claim.apiKey !== null) {
    return keys.teamOf(claim.apiKey).then((team) => {
      if (team === route.teamId) return;
      throw team === null ? failures.unauthorized(sandboxId, port) : failures.unknown(sandboxId);
    });
  }
  if (claim.grant !== null) {
    const verdict = verify(claim.grant, trafficToken, sandboxId, port);
    if (verdict === 'valid') return undefined;
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
