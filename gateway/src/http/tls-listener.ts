import type { TemplatedApp, us_listen_socket } from 'uWebSockets.js';
import { type FSWatcher, watch } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { createSecureContext } from 'node:tls';
import type { Logger } from '@wrenn/core';
import { uws } from './uws.ts';

/** PEM files: the certificate with its chain, and its key. */
export interface CertificateFiles {
  readonly certificate: string;
  readonly key: string;
}

/** Writers replace two files one after the other: what is read in between does not fit. */
const SETTLE_MS = 200;

/**
 * One TLS port (PX5). When the files change it is served with the new ones by a second listener on the same port before
 * the first is closed; connections that are open go on with what they began with. Files that do not fit are not taken.
 */
export class TlsListener {
  readonly #files: CertificateFiles;
  readonly #fill: (app: TemplatedApp) => void;
  readonly #log: Logger;
  readonly #apps: TemplatedApp[] = [];
  readonly #watchers: FSWatcher[] = [];
  #listening: us_listen_socket | null = null;
  #address = '';
  #port = 0;
  #timer: NodeJS.Timeout | undefined;
  #reloading: Promise<void> = Promise.resolve();

  constructor(files: CertificateFiles, fill: (app: TemplatedApp) => void, log: Logger) {
    this.#files = files;
    this.#fill = fill;
    this.#log = log;
  }

  /** Rejects where the files do not fit or the port is taken. Resolves with the port. */
  async listen(address: string, port: number): Promise<number> {
    this.#address = address;
    this.#port = port;
    await this.#serve();
    for (const folder of new Set(Object.values(this.#files).map((file) => dirname(file)))) {
      // The folder, since a file that is replaced by a rename is another one afterwards.
      this.#watchers.push(watch(folder, (_event, name) => this.#changed(name)));
    }
    return this.#port;
  }

  /** Takes no new connections. */
  stopListening(): void {
    clearTimeout(this.#timer);
    for (const watcher of this.#watchers.splice(0)) watcher.close();
    if (this.#listening) uws.us_listen_socket_close(this.#listening);
    this.#listening = null;
  }

  async close(): Promise<void> {
    this.stopListening();
    await this.#reloading;
    for (const app of this.#apps.splice(0)) app.close();
  }

  #changed(name: string | null): void {
    const names = Object.values(this.#files).map((file) => basename(file));
    // Kubernetes and others swap a link that the files stand behind, whose name is not theirs.
    if (name !== null && !names.includes(name) && !name.startsWith('..')) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#reloading = this.#serve().then(
        () => this.#log.info({ certificate: this.#files.certificate }, 'serving the new certificate'),
        (err) => this.#log.error({ err }, 'the certificate files do not fit; the earlier certificate is kept'),
      );
    }, SETTLE_MS);
  }

  async #serve(): Promise<void> {
    const { certificate, key } = this.#files;
    const [cert, privateKey] = await Promise.all([readFile(certificate), readFile(key)]);
    createSecureContext({ cert, key: privateKey }); // throws where they do not fit
    const app = uws.SSLApp({ cert_file_name: certificate, key_file_name: key });
    this.#fill(app);
    // The library lets two listeners share a port, unless the kernel chose it (port 0).
    const socket = await new Promise<us_listen_socket>((resolve, reject) => {
      app.listen(this.#address, this.#port, (opened) => {
        if (opened) resolve(opened);
        else reject(new Error(`cannot listen on ${this.#address}:${this.#port} (is it in use?)`));
      });
    });
    this.#apps.push(app);
    this.#port = uws.us_socket_local_port(socket);
    if (this.#listening) uws.us_listen_socket_close(this.#listening);
    this.#listening = socket;
  }
}
