import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../scripts/lib/run.ts';

export interface CertificateFiles {
  readonly certificate: string;
  readonly key: string;
}

/** A self-signed certificate for a domain and everything below it, good for a day; clients trust its own file. */
export async function makeCertificate(dir: string, domain: string): Promise<CertificateFiles> {
  mkdirSync(dir, { recursive: true });
  const [certificate, key] = [join(dir, 'certificate.pem'), join(dir, 'key.pem')];
  const names = `subjectAltName=DNS:${domain},DNS:*.${domain},IP:127.0.0.1`;
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1'];
  const subject = ['-subj', `/CN=${domain}`, '-addext', names, '-addext', 'basicConstraints=critical,CA:TRUE'];
  const argv = ['openssl', ...request, ...subject, '-keyout', key, '-out', certificate];
  await run(argv, { log: join(dir, 'openssl.log') });
  return { certificate, key };
}
