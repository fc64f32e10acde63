import type { EgressPolicy, VmSpec } from '@wrenn/actors';
import type { EgressPolicy as EgressMessage, SandboxSpec } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { failure } from './failure.ts';

/** VM10. The upper bounds hold whoever asks: what exceeds them was not checked by our control plane. */
const RANGES = {
  vcpus: [1, 8],
  memoryMb: [128, 8192],
  diskSizeMb: [1, 102_400],
} as const;
/** RFC 1123 label: it becomes a field of the kernel's command line. */
const HOSTNAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** The spec of a start as the `vm` actor keeps it. */
export function checkSpec(spec: SandboxSpec | undefined, sandboxId: string): VmSpec {
  if (spec === undefined) throw failure('bad_request', 'spec is missing');
  for (const [name, [least, most]] of Object.entries(RANGES)) {
    const value = spec[name as keyof typeof RANGES];
    if (value < least || value > most) throw failure('out_of_range', `spec.${name} must be ${least} to ${most}`);
  }
  const hostname = spec.hostname === '' ? sandboxId : spec.hostname;
  if (!HOSTNAME.test(hostname)) throw failure('bad_request', 'spec.hostname must be a host name label');
  return {
    template: spec.template,
    vcpus: spec.vcpus,
    memory_mb: spec.memoryMb,
    disk_size_mb: spec.diskSizeMb,
    envs: { ...spec.envs },
    access_token: spec.accessToken,
    default_user: spec.defaultUser,
    hostname,
    team_id: spec.teamId,
    egress: spec.egress ? checkEgress(spec.egress) : null,
  };
}

/** IPv4 networks and domain names, few enough to be gone through; each is read again by the addon. */
const MAX_ENTRIES = 512;
const NETWORK = /^\d{1,3}(\.\d{1,3}){3}\/\d{1,2}$/;
const NAME = /^(\*\.)?[\w-]{1,63}(\.[\w-]{1,63})+$/;

export function checkEgress({ allow, deny }: EgressMessage): EgressPolicy {
  const all = [...allow, ...deny];
  if (all.length > MAX_ENTRIES) throw failure('bad_request', `egress: more than ${MAX_ENTRIES} entries`);
  const wrong = all.find((entry) => !NETWORK.test(entry) && !NAME.test(entry));
  if (wrong !== undefined) {
    throw failure('bad_request', `egress: ${JSON.stringify(wrong)} is neither an IPv4 network nor a domain name`);
  }
  return { allow: [...allow], deny: [...deny] };
}
