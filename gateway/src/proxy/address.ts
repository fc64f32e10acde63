import { SANDBOX_ID } from '../sandboxes/sandbox-id.ts';

/** envd's port in every guest. */
export const GUEST_AGENT_PORT = 49_983;
/** Where a code interpreter serves (wire contract of E2B). */
export const CODE_INTERPRETER_PORT = 49_999;

/** A port of a sandbox, as a request names it (PX1). */
export interface PortAddress {
  readonly kind: 'port';
  readonly sandboxId: string;
  readonly port: number;
  /** The request came with E2B's routing headers, so it gets E2B's errors (PX3). */
  readonly byHeaders: boolean;
}

/** It is meant for a sandbox, but what it says cannot be one. */
export interface MalformedAddress {
  readonly kind: 'malformed';
  readonly message: string;
  readonly byHeaders: boolean;
}

/** Null: the request is the API's. */
export type Address = PortAddress | MalformedAddress | null;

/**
 * Reads addresses out of host names `{port}-{sandbox id}.{domain}` and out of E2B's headers `e2b-sandbox-id` and
 * `e2b-sandbox-port`, which count on every host name that is not a sandbox's. Pure.
 */
export class Addresses {
  /** `.domain`, lower case, without a port. */
  readonly suffix: string;

  /** `domain` may carry the port that clients write (`localhost:8443`). */
  constructor(domain: string) {
    this.suffix = `.${withoutPort(domain.toLowerCase())}`;
  }

  read(host: string, header: (name: string) => string): Address {
    // Most requests of the API end here: their host names begin with a letter or are addresses without a hyphen.
    const first = host.charCodeAt(0);
    if (first >= 48 && first <= 57) {
      const named = this.#fromHost(host);
      if (named !== null) return named;
    }
    const id = header('e2b-sandbox-id');
    return id === '' ? null : fromHeaders(id, header('e2b-sandbox-port'));
  }

  #fromHost(host: string): Address {
    const name = withoutPort(host.toLowerCase());
    if (!name.endsWith(this.suffix)) return null;
    const label = name.slice(0, -this.suffix.length);
    const hyphen = label.indexOf('-');
    if (hyphen < 1 || !/^\d+$/.test(label.slice(0, hyphen))) return null;
    return toAddress(label.slice(hyphen + 1), label.slice(0, hyphen), false);
  }
}

function fromHeaders(id: string, port: string): Address {
  // Early SDKs write `<id>-<client id>`.
  return toAddress(id.split('-', 1)[0] ?? '', port, true);
}

function toAddress(sandboxId: string, digits: string, byHeaders: boolean): Address {
  const port = /^\d{1,5}$/.test(digits) ? Number(digits) : 0;
  if (port < 1 || port > 65_535) {
    return { kind: 'malformed', message: 'The port must be a number from 1 to 65535.', byHeaders };
  }
  if (!SANDBOX_ID.test(sandboxId)) {
    const message = 'The host name must be {port}-{sandbox id}; the id is sb and 20 characters of a-z and 0-9.';
    return { kind: 'malformed', message, byHeaders };
  }
  return { kind: 'port', sandboxId, port, byHeaders };
}

/** `name:8080` → `name`; a bare IPv6 address in brackets stays whole. */
export function withoutPort(host: string): string {
  return host.replace(/:\d*$/, '');
}
