import type { PortAddress } from './address.ts';
import type { ProxiedHead } from './request-fields.ts';

/** How the gateway was reached. */
export interface Arrival {
  readonly remoteAddress: string;
  readonly tls: boolean;
}

export interface Passage {
  readonly address: PortAddress;
  readonly incarnation: number;
  /** What the agent asks of us (`Bearer …`). */
  readonly authorization: string;
  /** Path and query for the guest: without what only we understand. */
  readonly target: string;
  readonly cookie: string | null;
  /** Null: the client's own host name. */
  readonly maskHost: string | null;
}

/**
 * Fields of a request to the agent's `/proxy`, with its own among them: name, value… The guest sees the host name that the
 * client used (or its mask), and who asked and how in `X-Forwarded-*`; what a front proxy said there is kept.
 */
export function outgoingFields(head: ProxiedHead, passage: Passage, { remoteAddress, tls }: Arrival): string[] {
  const { forwardedFor, forwardedHost, forwardedProto, host } = head;
  // biome-ignore lint/suspicious/noTemplateCurlyInString: that is how the setting writes the port
  const mask = passage.maskHost?.replaceAll('${PORT}', String(passage.address.port));
  return [
    'host',
    mask ?? host,
    'wrenn-authorization',
    passage.authorization,
    'wrenn-incarnation',
    String(passage.incarnation),
    'x-forwarded-for',
    forwardedFor === null ? remoteAddress : `${forwardedFor}, ${remoteAddress}`,
    'x-forwarded-host',
    forwardedHost ?? host,
    'x-forwarded-proto',
    tls ? 'https' : (forwardedProto ?? 'http'),
    ...(passage.cookie === null ? [] : ['cookie', passage.cookie]),
    ...head.fields,
  ];
}

export function outgoingPath({ address, target }: Passage): string {
  return `/proxy/${address.sandboxId}/${address.port}${target}`;
}

/** The whole head of an HTTP/1.1 request. */
export function outgoingHead(head: ProxiedHead, passage: Passage, arrival: Arrival): string {
  const fields = outgoingFields(head, passage, arrival);
  let text = `${head.method} ${outgoingPath(passage)} HTTP/1.1\r\n`;
  for (let at = 0; at < fields.length; at += 2) text += `${fields[at]}: ${fields[at + 1]}\r\n`;
  if (head.body === 'chunked') text += 'transfer-encoding: chunked\r\n';
  else if (head.body !== null) text += `content-length: ${head.body}\r\n`;
  return `${text}\r\n`;
}
