import { type FSWatcher, watch } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import type { Logger } from '@wrenn/core';

/** PEM files: the certificate with its chain, and its key. */
export interface CertificateFiles {
  readonly certificate: string;
  readonly key: string;
}

/** What the files say. */
export interface Certificate {
  readonly certificate: string;
  readonly key: string;
}

/** Writers replace two files one after the other: what is read in between does not fit. */
const SETTLE_MS = 200;

/** Tells when the files have changed (PX5). Files that do not fit are logged, and what was before goes on. */
export class CertificateWatch {
  readonly #files: CertificateFiles;
  readonly #take: (certificate: Certificate) => void;
  readonly #log: Logger;
  readonly #watchers: FSWatcher[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** `take` throws where the two do not fit. */
  constructor(files: CertificateFiles, take: (certificate: Certificate) => void, log: Logger) {
    this.#files = files;
    this.#take = take;
    this.#log = log;
    for (const folder of new Set(Object.values(files).map((file) => dirname(file)))) {
      // The folder, since a file that is replaced by a rename is another one afterwards.
      this.#watchers.push(watch(folder, (_event, name) => this.#changed(name)));
    }
  }

  close(): void {
    clearTimeout(this.#timer);
    for (const watcher of this.#watchers.splice(0)) watcher.close();
  }

  #changed(name: string | null): void {
    const names = Object.values(this.#files).map((file) => basename(file));
    // Kubernetes and others swap a link that the files stand behind, whose name is not theirs.
    if (name !== null && !names.includes(name) && !name.startsWith('..')) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      readCertificate(this.#files)
        .then((certificate) => this.#take(certificate))
        .then(
          () => this.#log.info({ certificate: this.#files.certificate }, 'serving the new certificate'),
          (err) => this.#log.error({ err }, 'the certificate files do not fit; the earlier certificate is kept'),
        );
    }, SETTLE_MS);
  }
}

export async function readCertificate(files: CertificateFiles): Promise<Certificate> {
  const [certificate, key] = await Promise.all([readFile(files.certificate, 'utf8'), readFile(files.key, 'utf8')]);
  return { certificate, key };
}
