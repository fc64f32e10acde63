import type { EgressPolicy } from '@wrenn/actors';
import { badRequest } from '../http/problems.ts';
import { CIDR, isName, toDestination } from '../sandboxes/egress-fields.ts';
import { notServed } from './e2b-error.ts';
import type { Network } from './fields.ts';

const ALL = '0.0.0.0/0';

/**
 * The policy that a network configuration asks for: what is allowed goes before what is denied, the rest is allowed. What
 * would need a proxy that looks into the traffic is refused.
 */
export function egressOf(network: Network, allowInternet: boolean | null): EgressPolicy {
  if (network.rules && Object.keys(network.rules).length > 0)
    throw notServed('Rules that change requests on their way out are');
  if (network.egressProxy !== undefined && network.egressProxy !== null) throw notServed('Egress proxies are');
  const allow = (network.allowOut ?? []).map((entry) => destination(entry, 'allowOut'));
  const deny = (network.denyOut ?? []).map((entry) => destination(entry, 'denyOut'));
  if (allowInternet === false && !deny.includes(ALL)) deny.push(ALL);
  if (allow.some(isName) && !deny.includes(ALL)) {
    throw badRequest(`allowOut: domain names need ${ALL} in denyOut, since everything else is allowed otherwise`);
  }
  return { allow, deny };
}

function destination(entry: string, field: string): string {
  const found = toDestination(entry);
  if (CIDR.test(found) || isName(found)) return found;
  throw badRequest(`${field}: ${JSON.stringify(entry)} is no IPv4 address, CIDR or domain name`);
}
