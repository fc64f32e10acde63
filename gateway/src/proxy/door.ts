import { doorListen, type Door as Listener } from '@wrenn/addon';
import type { Logger } from '@wrenn/core';
import { type CertificateFiles, CertificateWatch, readCertificate } from './certificate-watch.ts';
import { type NamelessSocket, namelessSocket } from './nameless-socket.ts';
import type { SandboxProxy } from './proxy.ts';

/** What is told to clients at the very end has so long to go out. */
const LAST_WORDS_MS = 500;

/**
 * The port of this program (design: native/addon/src/door): the addon has it, relays requests for sandboxes by what
 * `SandboxProxy` has said of them, and passes everything else on to the HTTP server, over a unix socket.
 */
export class Door {
  readonly #proxy: SandboxProxy;
  readonly #log: Logger;
  #api: NamelessSocket | null = null;
  #listener: Listener | null = null;
  #watch: CertificateWatch | null = null;

  constructor(proxy: SandboxProxy, log: Logger) {
    this.#proxy = proxy;
    this.#log = log;
  }

  /** `address`: `ip:port`. `serve` makes the HTTP server listen on a path. Resolves with the port. */
  async listen(address: string, serve: (path: string) => Promise<unknown>): Promise<number> {
    const { suffix, token, limit } = this.#proxy;
    let listener: Listener;
    try {
      this.#api = await namelessSocket(serve);
      listener = await doorListen({ address, api: this.#api.path, suffix, token, limit });
    } catch (cause) {
      this.#closeApi();
      throw new Error(`cannot listen on ${address} (is it in use?)`, { cause });
    }
    this.#listener = listener;
    const { sandboxRoutes, agents } = this.#proxy.services;
    sandboxRoutes.onChange = (sandboxId) => {
      if (sandboxId === null) listener.forgetAll();
      else listener.forget(sandboxId);
    };
    agents.onEvict = () => listener.forgetAll();
    return listener.port;
  }

  /** PX5. After `listen`. Rejects where the files do not fit or the port is taken. */
  async listenTls(address: string, files: CertificateFiles): Promise<number> {
    const listener = this.#listener as Listener;
    const { certificate, key } = await readCertificate(files);
    const port = listener.listenTls(address, certificate, key);
    this.#watch = new CertificateWatch(
      files,
      (found) => listener.setCertificate(found.certificate, found.key),
      this.#log,
    );
    return port;
  }

  /** Takes no new connections; resolves when no request is under way, or after `graceMs`. */
  async drain(graceMs: number): Promise<void> {
    this.#watch?.close();
    this.#listener?.stop();
    await this.#listener?.drain(graceMs);
  }

  /** Cuts what is left. */
  async close(): Promise<void> {
    await this.#listener?.drain(LAST_WORDS_MS);
    this.#listener?.close();
    this.#closeApi();
  }

  #closeApi(): void {
    this.#api?.close();
    this.#api = null;
  }
}
