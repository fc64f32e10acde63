import { z } from 'zod';

/** IPv4 with a prefix length. */
export const CIDR = /^((25[0-5]|2[0-4]\d|1?\d?\d)(\.|(?=\/))){4}\/(3[0-2]|[12]?\d)$/;
/** Two labels or more, the last no number; `*.` in front: all names below it. */
const NAME = /^(\*\.)?([\w-]{1,63}\.)+(?!\d+$)[\w-]{1,63}$/;
const MAX_NAME = 253;

/** A bare address is a network of one, a name has small letters and no dot at its end. */
export function toDestination(text: string): string {
  if (/^[\d.]+$/.test(text)) return `${text}/32`;
  return text.includes('/') ? text : text.toLowerCase().replace(/\.$/, '');
}

export function isName(destination: string): boolean {
  const labels = destination.replace(/^\*\./, '').split('.');
  const isDashed = labels.some((label) => label.startsWith('-') || label.endsWith('-'));
  return destination.length <= MAX_NAME && NAME.test(destination) && !isDashed;
}

const destinations = z
  .array(
    z
      .string()
      .transform(toDestination)
      .refine(
        (entry) => CIDR.test(entry) || isName(entry),
        'must be an IPv4 address, a CIDR, e.g. 203.0.113.0/24, or a domain name, e.g. example.com or *.example.com',
      ),
  )
  .max(256);

/** What a guest may reach (NET4): `allow` goes before `deny`, the rest is allowed. */
export const egress = z.strictObject({ allow: destinations.default([]), deny: destinations.default([]) }).meta({
  description: 'Networks and domain names that a guest may reach: allow goes before deny, the rest is allowed',
});
