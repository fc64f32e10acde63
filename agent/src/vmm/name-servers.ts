import { readFile } from 'node:fs/promises';

/** Where the host's own servers are out of a guest's reach. */
export const PUBLIC_NAME_SERVERS = ['1.1.1.1', '8.8.8.8'];
/** Loopback and link-local: a guest would ask itself. */
const UNREACHABLE = /^(127\.|169\.254\.|0\.)/;
const IPV4 = /^\d{1,3}(\.\d{1,3}){3}$/;

/** Name servers for guests: the host's, as far as a guest can reach them (NET4 keeps it from the host itself). */
export async function nameServers(): Promise<string[]> {
  const text = await readFile('/etc/resolv.conf', 'utf8').catch(() => '');
  const own = text
    .split('\n')
    .map((line) => /^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? '')
    .filter((address) => IPV4.test(address) && !UNREACHABLE.test(address));
  return own.length > 0 ? own : PUBLIC_NAME_SERVERS;
}
