import { randomBytes } from 'node:crypto';
import {
  frontListen,
  type Front as Listener,
  type RouteActivity,
  routeActivity,
  routeDelete,
  routeDrain,
  routeSet,
  routeTouch,
} from '@wrenn/addon';
import type { VmFacts } from './live-vms.ts';

/** The control plane's credential (docs/contracts.md, "Guest access"). */
export const SECRET_HEADER = 'wrenn-authorization';

export interface FrontOptions {
  /** `ip:port` to listen on (`WRENN_AGENT_LISTEN`). */
  readonly address: string;
  /** Socket of the Connect service, to which everything goes that is not for a guest. */
  readonly service: string;
  /** What the control plane must show; null before the host is registered: then nobody is let in. */
  readonly secret: string | null;
}

/**
 * The byte path to the guests (design.md §4): served by the addon, from the routes that are set here. Bytes of exec,
 * files and proxied traffic never come through JavaScript.
 */
export class Front {
  #listener: Listener | null = null;

  async listen({ address, service, secret }: FrontOptions): Promise<void> {
    this.#listener = await frontListen({ address, upstream: service, identity: identityOf(secret) });
  }

  /** The port that it listens on, which the kernel chose where 0 was asked for; null: it does not listen. */
  get port(): number | null {
    return this.#listener?.port ?? null;
  }

  /** The control plane's secret is another one from now on. */
  admit(secret: string): void {
    this.#listener?.setIdentity(identityOf(secret));
  }

  open({ sandboxId, incarnation, hostIp, accessToken }: VmFacts): void {
    routeSet({ sandboxId, incarnation, guestIp: hostIp, accessToken, state: 'ready' });
  }

  /**
   * Lets nothing new in and waits, at most for `limitMs`, until no request is under way and no socket open; then it is
   * shut, and what was still open is reset. False: something was.
   */
  drain(sandboxId: string, limitMs: number): Promise<boolean> {
    return routeDrain(sandboxId, limitMs);
  }

  /** Connections to it are reset: a client must not take a dead guest for a silent one. */
  shut(sandboxId: string): void {
    routeDelete(sandboxId);
  }

  touch(sandboxId: string): void {
    routeTouch(sandboxId);
  }

  /** Undefined: no byte path leads there. */
  activity(sandboxId: string): RouteActivity | undefined {
    return routeActivity().find((route) => route.sandboxId === sandboxId);
  }

  close(): void {
    this.#listener?.close();
    this.#listener = null;
  }
}

function identityOf(secret: string | null): { header: string; value: string } {
  return { header: SECRET_HEADER, value: `Bearer ${secret ?? randomBytes(32).toString('hex')}` };
}
