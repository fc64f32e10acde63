import type { EgressPolicy } from '@wrenn/actors';
import { badRequest } from '../http/problems.ts';
import { CIDR, toCidr } from '../sandboxes/egress-fields.ts';
import { notServed } from './e2b-error.ts';
import type { Network } from './fields.ts';

const ALL = '0.0.0.0/0';

/**
 * The policy that a network configuration asks for: what is allowed goes before what is denied, the rest is allowed.
 * By addresses only: what would need a proxy that looks into the traffic is refused.
 */
export function egressOf(network: Network, allowInternet: boolean | null): EgressPolicy {
  if (network.rules && Object.keys(network.rules).length > 0)
    throw notServed('Rules that change requests on their way out are');
  if (network.egressProxy !== undefined && network.egressProxy !== null) throw notServed('Egress proxies are');
  const deny = (network.denyOut ?? []).map((entry) => address(entry, 'denyOut'));
  if (allowInternet === false && !deny.includes(ALL)) deny.push(ALL);
  return { allow: (network.allowOut ?? []).map((entry) => address(entry, 'allowOut')), deny };
}

function address(entry: string, field: string): string {
  const cidr = toCidr(entry);
  if (CIDR.test(cidr)) return cidr;
  if (/^[0-9./:]+$/.test(entry)) throw badRequest(`${field}: ${JSON.stringify(entry)} is no IPv4 address or CIDR`);
  throw notServed(`Domain names in ${field} are`);
}
