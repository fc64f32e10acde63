import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { writePrivate } from './write-private.ts';

/** What register and refresh answer (H1); certificate fields are null while the control plane has no CA. */
export const issuedCredentials = z.object({
  host_id: z.string(),
  jwt: z.string(),
  /** The token is to be renewed then, before it expires (H2). A file that does not say so is renewed now. */
  renew_at: z.string().default(new Date(0).toISOString()),
  refresh_token: z.string(),
  cert_pem: z.string().nullable(),
  ca_cert_pem: z.string().nullable(),
  /** Proves the control plane to this agent while there is no mTLS. */
  control_plane_secret: z.string().min(16),
});

/** `host-credentials.json`: the same, and the key that never leaves this host. */
const hostCredentials = issuedCredentials.extend({ key_pem: z.string().nullable() });

export type IssuedCredentials = z.infer<typeof issuedCredentials>;
export type HostCredentials = z.infer<typeof hostCredentials>;

/** Null: this host is not registered. */
export async function readCredentials(path: string): Promise<HostCredentials | null> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  return hostCredentials.parse(JSON.parse(text));
}

/** Durable before anything relies on it: an earlier refresh token may be worthless already. */
export function writeCredentials(path: string, credentials: HostCredentials): Promise<void> {
  return writePrivate(path, `${JSON.stringify(credentials, null, 2)}\n`);
}
