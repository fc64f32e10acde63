import { createHash } from 'node:crypto';
import { type IssuedCredentials, issuedCredentials } from './credentials.ts';

/** A call that takes longer is tried again; the control plane answers in milliseconds. */
const CALL_TIMEOUT_MS = 10_000;

/** The control plane refused: `status` 401 and 403 mean that the credential is not good (any more). */
export class ControlPlaneRefused extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.name = 'ControlPlaneRefused';
    this.status = status;
    this.code = code;
  }
}

export interface HostSpecs {
  readonly vcpus: number;
  readonly memory_mb: number;
  readonly disk_mb: number;
  readonly arch: string;
  readonly vmm: string;
  readonly vmm_version: string;
  readonly agent_version: string;
  readonly store: string;
}

export interface Heartbeat {
  readonly store_id: string;
  readonly cursor: number;
  readonly vms: number;
  readonly load: Readonly<Record<string, number>>;
  /** Told until one was heard that had them. */
  readonly specs?: HostSpecs;
}

export interface RegisterCall {
  readonly token: string;
  /** Where the control plane reaches this agent. */
  readonly address: string;
  readonly specs: HostSpecs;
  /** Of the agent's journal; told again with each heartbeat. */
  readonly store_id?: string;
}

/** The routes of the control plane that a host uses (API8). */
export class ControlPlane {
  readonly #url: string;

  constructor(url: string) {
    this.#url = url.replace(/\/+$/, '');
  }

  /** Trades the one-time token for credentials. With the same `key` it may be asked again, until they are renewed. */
  async register(call: RegisterCall, key: string, signal: AbortSignal): Promise<IssuedCredentials> {
    const headers = { 'idempotency-key': key };
    return issuedCredentials.parse(await this.#post('/v1/hosts/register', call, headers, signal));
  }

  /**
   * Renews the credentials. The refresh token is good once; a retry after a lost answer or a crash is told from reuse by
   * its key, which is made from the token that is renewed: the same until the new ones are written down.
   */
  async refresh(credentials: IssuedCredentials, signal: AbortSignal): Promise<IssuedCredentials> {
    const call = { refresh_token: credentials.refresh_token };
    const headers = { 'idempotency-key': createHash('sha256').update(credentials.jwt).digest('hex') };
    return issuedCredentials.parse(await this.#post('/v1/hosts/auth/refresh', call, headers, signal));
  }

  async heartbeat(hostId: string, jwt: string, heartbeat: Heartbeat, signal: AbortSignal): Promise<void> {
    const headers = { authorization: `Bearer ${jwt}` };
    await this.#post(`/v1/hosts/${encodeURIComponent(hostId)}/heartbeat`, heartbeat, headers, signal);
  }

  async #post(
    path: string,
    body: unknown,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<unknown> {
    const response = await fetch(this.#url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
      redirect: 'error', // a credential goes to the address that was configured, nowhere else
      signal: AbortSignal.any([signal, AbortSignal.timeout(CALL_TIMEOUT_MS)]),
    });
    const text = await response.text();
    if (response.ok) return text === '' ? {} : JSON.parse(text);
    const { code, message } = errorOf(text);
    throw new ControlPlaneRefused(response.status, code, `${path}: ${response.status} ${code}: ${message}`);
  }
}

function errorOf(text: string): { code: string; message: string } {
  try {
    const { error } = JSON.parse(text);
    if (typeof error?.code === 'string') return { code: error.code, message: String(error.message) };
  } catch {} // not the control plane's own words
  return { code: 'internal', message: text.slice(0, 200) };
}
