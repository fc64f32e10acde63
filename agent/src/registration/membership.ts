import type { Logger } from '@wrenn/core';
import { type ControlPlane, ControlPlaneRefused, type Heartbeat, type HostSpecs } from './control-plane.ts';
import { type HostCredentials, type IssuedCredentials, writeCredentials } from './credentials.ts';

/** H4: three missed ones make the host unreachable. */
const HEARTBEAT_INTERVAL_MS = 30_000;
/** After a failed one: soon again, so that a short outage does not cost a whole interval. */
const RETRY_INTERVAL_MS = 5_000;

export interface MembershipOptions {
  readonly controlPlane: ControlPlane;
  readonly credentials: HostCredentials;
  /** Path of `host-credentials.json`. */
  readonly file: string;
  readonly log: Logger;
  /** As they are since this program was started: another version, VMM or setting than at the registration, perhaps. */
  readonly specs: HostSpecs;
  heartbeat(): Heartbeat;
  /** The credentials are others from now on. */
  renewed(credentials: HostCredentials): void;
}

/** This host's place in the fleet: heartbeats (H4), and credentials that are renewed before they expire (H2). */
export class Membership {
  readonly #options: MembershipOptions;
  readonly #stopping = new AbortController();
  #credentials: HostCredentials;
  #running: Promise<void> = Promise.resolve();
  #toldSpecs = false;
  #wake = () => {};

  constructor(options: MembershipOptions) {
    this.#options = options;
    this.#credentials = options.credentials;
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#wake();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const succeeded = await this.#beat(signal);
      await this.#pause(succeeded ? HEARTBEAT_INTERVAL_MS : RETRY_INTERVAL_MS);
    }
  }

  async #beat(signal: AbortSignal): Promise<boolean> {
    const { log } = this.#options;
    try {
      if (Date.parse(this.#credentials.renew_at) <= Date.now()) await this.#renew(signal);
      try {
        await this.#tell(signal);
      } catch (error) {
        if (!(error instanceof ControlPlaneRefused) || error.status !== 401) throw error;
        await this.#renew(signal); // once: a token can be revoked before its time
        await this.#tell(signal);
      }
      return true;
    } catch (error) {
      if (!signal.aborted) log.warn({ err: error }, 'the control plane did not take the heartbeat');
      return false;
    }
  }

  async #tell(signal: AbortSignal): Promise<void> {
    const { controlPlane, specs, heartbeat } = this.#options;
    const { host_id, jwt } = this.#credentials;
    await controlPlane.heartbeat(host_id, jwt, { ...heartbeat(), ...(!this.#toldSpecs && { specs }) }, signal);
    this.#toldSpecs = true;
  }

  async #renew(signal: AbortSignal): Promise<void> {
    const { controlPlane, file, log, renewed } = this.#options;
    const issued: IssuedCredentials = await controlPlane.refresh(this.#credentials, signal);
    this.#credentials = { ...issued, key_pem: this.#credentials.key_pem };
    await writeCredentials(file, this.#credentials);
    renewed(this.#credentials);
    log.info({ host_id: issued.host_id }, 'host credentials renewed');
  }

  #pause(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.#stopping.signal.aborted) this.#wake();
    });
  }
}
