import { open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { syncDir } from '@wrenn/addon';
import { z } from 'zod';

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

/** Whole or not at all, and durable before anything relies on it: an earlier refresh token may be worthless already. */
export async function writeCredentials(path: string, credentials: HostCredentials): Promise<void> {
  const draft = `${path}.new`;
  const file = await open(draft, 'w', 0o600);
  try {
    await file.chmod(0o600);
    await file.writeFile(`${JSON.stringify(credentials, null, 2)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(draft, path);
  await syncDir(dirname(path));
}
