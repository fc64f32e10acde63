import type { AgentSettings } from '../config.ts';
import type { AgentFiles } from '../files.ts';
import type { VmHost } from '../vm-host.ts';
import type { ControlPlane } from './control-plane.ts';
import { type HostCredentials, writeCredentials } from './credentials.ts';
import { hostSpecs } from './host-facts.ts';
import { registrationKey } from './registration-key.ts';

/** `--register TOKEN --address ip:port`. */
export interface Registration {
  readonly token: string;
  /** Where the control plane reaches this agent. */
  readonly address: string;
}

export interface RegisterOptions {
  readonly registration: Registration;
  readonly controlPlane: ControlPlane;
  readonly settings: AgentSettings;
  readonly files: AgentFiles;
  readonly host: VmHost;
}

/** H1: trades the one-time token for credentials, and keeps them before anything uses them. */
export async function register(options: RegisterOptions, signal: AbortSignal): Promise<HostCredentials> {
  const { registration, controlPlane, settings, files, host } = options;
  const specs = await hostSpecs(settings, files.root, host.vmm, host.rootfs.name);
  const key = await registrationKey(files.registrationKey);
  const issued = await controlPlane.register({ ...registration, specs, store_id: host.journal.storeId }, key, signal);
  const credentials = { ...issued, key_pem: null };
  await writeCredentials(files.credentials, credentials);
  return credentials;
}
