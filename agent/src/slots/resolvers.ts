import { readFile } from 'node:fs/promises';
import { PUBLIC_NAME_SERVERS } from '../vmm/name-servers.ts';

const DNS_PORT = 53;

/**
 * `ip:port` of the name servers that the host itself asks, for guests whose policy names domains (NET4): `configured`, or
 * those of /etc/resolv.conf, read anew each time. Loopback is fine: the host asks, not the guest. Where there is none at all,
 * public ones.
 */
export async function resolvers(configured: readonly string[]): Promise<string[]> {
  if (configured.length > 0) return [...configured];
  const text = await readFile('/etc/resolv.conf', 'utf8').catch(() => '');
  const own = serversOf(text);
  return own.length > 0 ? own : PUBLIC_NAME_SERVERS.map((address) => `${address}:${DNS_PORT}`);
}

export function serversOf(resolvConf: string): string[] {
  return resolvConf
    .split('\n')
    .map((line) => /^\s*nameserver\s+([0-9a-fA-F.:]+)\s*$/.exec(line)?.[1])
    .filter((address) => address !== undefined)
    .map((address) => (address.includes(':') ? `[${address}]:${DNS_PORT}` : `${address}:${DNS_PORT}`));
}
