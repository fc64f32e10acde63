import { Agent, type IncomingMessage, request } from 'node:http';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Client, createClient } from '@connectrpc/connect';
import { createConnectTransport } from '@connectrpc/connect-node';
import { Process } from '@wrenn/proto/process/process_pb';
import { GuestError } from './guest-error.ts';

const ENVD_PORT = 49983;
/** Far below envd's own limit for idle connections: a call must not meet one that is just being closed. */
const IDLE_CONNECTION_MS = 60_000;
/** Far above any answer of envd that is read whole. */
const MAX_ANSWER_BYTES = 1 << 20;

export interface GuestIdentity {
  readonly accessToken: string;
  readonly envs: Readonly<Record<string, string>>;
  readonly defaultUser: string;
  readonly hostname: string;
}

/** Who a restored guest is from now on (SN11). */
export interface CloneIdentity extends GuestIdentity {
  readonly sandboxId: string;
  /** From the host's generator: nothing that a guest remembers is a secret of one guest alone. */
  readonly entropy: Buffer;
  readonly now: Date;
}

export interface GuestMetrics {
  readonly cpu_used_pct: number;
  readonly mem_used: number;
  readonly mem_total: number;
  readonly disk_used: number;
  readonly disk_total: number;
}

interface Call {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly headers?: Readonly<Record<string, string | number>>;
  readonly body?: Readable | string | Uint8Array;
  readonly signal: AbortSignal;
}

/** envd of one VM, over connections that are kept open until `close`. */
export class Guest {
  readonly processes: Client<typeof Process>;
  readonly #host: string;
  readonly #token: string;
  /** Calls have no time limit: the timeout is for connections that wait for the next one. */
  readonly #agent = new Agent({ keepAlive: true, timeout: IDLE_CONNECTION_MS });

  constructor(hostIp: string, accessToken: string) {
    this.#host = hostIp;
    this.#token = accessToken;
    const transport = createConnectTransport({
      httpVersion: '1.1',
      baseUrl: `http://${hostIp}:${ENVD_PORT}`,
      nodeOptions: { agent: this.#agent },
      acceptCompression: [], // host and guest share one machine: compressing would cost more than it saves
      interceptors: [
        (next) => (call) => {
          for (const [name, value] of Object.entries(this.#credentials())) call.header.set(name, value);
          return next(call);
        },
      ],
    });
    this.processes = createClient(Process, transport);
  }

  /** Tells the guest who it is (VM6: this is also the proof that it is there), and sets its clock. */
  async init(identity: GuestIdentity, now: Date, signal: AbortSignal): Promise<void> {
    const body = {
      accessToken: identity.accessToken,
      envVars: identity.envs,
      defaultUser: identity.defaultUser,
      hostname: identity.hostname,
      timestamp: now.toISOString(),
    };
    await this.#post('/init', body, signal);
  }

  /** Answers also while the guest's processes are frozen. */
  async health(signal: AbortSignal): Promise<void> {
    await readAll(await this.#call({ method: 'GET', path: '/health', signal }));
  }

  /**
   * Every process of envd's stands still until the key is shown. Again: the same. With `sync` the file systems are written
   * before that, for a second at most; an envd that does not know `sync=false` does so as well.
   */
  async freeze(thawKey: string, { sync }: { readonly sync: boolean }, signal: AbortSignal): Promise<void> {
    await this.#post(`/wrenn/freeze${sync ? '' : '?sync=false'}`, { thaw_key: thawKey }, signal);
  }

  /**
   * Lets the processes run on. With an identity the guest becomes that one first, and nothing runs if any part of that
   * fails (docs/contracts.md, "Agent and guest"). Thawing what runs is fine without an identity, and refused with one.
   */
  async thaw(thawKey: string, identity: CloneIdentity | null, signal: AbortSignal): Promise<void> {
    const clone = identity && {
      entropy: identity.entropy.toString('base64'),
      time_ns: Number(BigInt(identity.now.getTime()) * 1_000_000n),
      hostname: identity.hostname,
      sandbox_id: identity.sandboxId,
      access_token: identity.accessToken,
      envs: identity.envs,
      default_user: identity.defaultUser,
    };
    await this.#post('/wrenn/thaw', { thaw_key: thawKey, ...(clone && { identity: clone }) }, signal);
  }

  async metrics(signal: AbortSignal): Promise<GuestMetrics> {
    return JSON.parse((await readAll(await this.#call({ method: 'GET', path: '/metrics', signal }))).toString());
  }

  /** The file's bytes as they come; the caller reads or destroys the stream. */
  readFile(path: string, user: string, signal: AbortSignal): Promise<Readable> {
    return this.#call({ method: 'GET', path: filesUrl(path, user), signal });
  }

  /** Writes a file, parents included, from a source of any size (VM8). */
  async writeFile(path: string, user: string, source: Readable | Uint8Array, signal: AbortSignal): Promise<void> {
    const headers = { 'content-type': 'application/octet-stream' };
    await readAll(await this.#call({ method: 'POST', path: filesUrl(path, user), headers, body: source, signal }));
  }

  /** Ends the connections; calls in flight fail. */
  close(): void {
    this.#agent.destroy();
  }

  async #post(path: string, value: object, signal: AbortSignal): Promise<void> {
    const body = JSON.stringify(value);
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    await readAll(await this.#call({ method: 'POST', path, headers, body, signal }));
  }

  #credentials(): Record<string, string> {
    return this.#token === '' ? {} : { 'x-access-token': this.#token };
  }

  async #call({ method, path, headers, body, signal }: Call): Promise<IncomingMessage> {
    const call = request({
      agent: this.#agent,
      host: this.#host,
      port: ENVD_PORT,
      method,
      path,
      headers: { ...this.#credentials(), ...headers },
      signal,
    });
    const answered = new Promise<IncomingMessage>((resolve, reject) =>
      call.on('response', resolve).on('error', reject),
    );
    // An early answer (507 in mid-upload) counts more than the broken pipe that follows it.
    const sent =
      body === undefined || typeof body === 'string' || body instanceof Uint8Array
        ? void call.end(body)
        : pipeline(body, call, { signal });
    const failed = Promise.resolve(sent).then(
      () => answered,
      (error) => Promise.race([answered, failSoon(error)]),
    );
    const response = await Promise.race([answered, failed]);
    const status = response.statusCode ?? 0;
    if (status >= 200 && status < 300) return response;
    throw await GuestError.from(status, await readAll(response));
  }
}

/** What an answer that is on its way gets when the request's body could not be sent. */
const ANSWER_GRACE_MS = 200;

function failSoon(error: unknown): Promise<never> {
  return new Promise((_, reject) => setTimeout(reject, ANSWER_GRACE_MS, error));
}

function filesUrl(path: string, user: string): string {
  const query = new URLSearchParams({ path });
  if (user !== '') query.set('username', user);
  return `/files?${query}`;
}

async function readAll(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response) {
    size += chunk.length;
    if (size > MAX_ANSWER_BYTES) throw new GuestError(502, 'envd sent an answer without end');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
