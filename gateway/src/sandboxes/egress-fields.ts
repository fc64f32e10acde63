import { z } from 'zod';

/** IPv4 with a prefix length. */
export const CIDR = /^((25[0-5]|2[0-4]\d|1?\d?\d)(\.|(?=\/))){4}\/(3[0-2]|[12]?\d)$/;

/** A bare address is a network of one. */
export function toCidr(text: string): string {
  return text.includes('/') ? text : `${text}/32`;
}

const cidrs = z
  .array(
    z.string().transform(toCidr).pipe(z.string().regex(CIDR, 'must be an IPv4 address or CIDR, e.g. 203.0.113.0/24')),
  )
  .max(256);

/** What a guest may reach (NET4): `allow` goes before `deny`, the rest is allowed. */
export const egress = z
  .strictObject({ allow: cidrs.default([]), deny: cidrs.default([]) })
  .meta({ description: 'Networks a guest may reach: allow goes before deny, the rest is allowed' });
