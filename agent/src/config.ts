import { availableParallelism, totalmem } from 'node:os';
import { z } from 'zod';

/** NET1: an interface name has 15 characters, `wrenn-veth-` takes eleven. */
const LAST_SLOT = 9999;
/** vCPUs offered per core: sandboxes mostly wait, and one forked into twenty fits on two cores. */
const VCPUS_PER_CORE = 16;
const MIB = 1 << 20;

const listenAddress = z
  .string()
  .regex(/^(\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-fA-F:]+\]):\d{1,5}$/, 'an address and a port, such as 127.0.0.1:50051');

const slotRange = z
  .string()
  .regex(/^\d{1,4}-\d{1,4}$/, `a range within 1-${LAST_SLOT}, such as 1-999`)
  .transform((text) => text.split('-').map(Number) as [number, number])
  .refine(([first, last]) => first >= 1 && first <= last && last <= LAST_SLOT, `a range within 1-${LAST_SLOT}`)
  .transform(([first, last]) => ({ first, last }));

/** `minimal=2,code-interpreter=1`: warm VMs kept per template, in its default size; `minimal=0` for none. */
const warmPool = z
  .string()
  .regex(/^(\s*[a-z0-9][a-z0-9._-]{0,62}=\d{1,3}\s*(,(?!$)|$))*$/, 'templates with counts, such as minimal=2')
  .transform((text) => {
    const entries = text.split(',').map((entry) => entry.trim().split('=') as [string, string?]);
    return new Map(entries.filter(([name]) => name !== '').map(([name, count]) => [name, Number(count)]));
  });

/** `10.0.0.53,[2001:db8::1]:5353`: the port is 53 where none is given. */
const nameServers = z
  .string()
  .regex(/^(\s*(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-fA-F:]+\])(:\d{1,5})?\s*(,(?!$)|$))*$/, 'addresses, such as 10.0.0.53')
  .transform((text) => {
    const entries = text.split(',').map((entry) => entry.trim());
    return entries.filter((entry) => entry !== '').map((entry) => (/[\d\]]:\d+$/.test(entry) ? entry : `${entry}:53`));
  });

/** The agent's settings (docs/contracts.md). */
export const agentSettings = z.object({
  WRENN_DIR: z.string().min(1).optional(),
  /** Older name of `WRENN_DIR` (spec §0). */
  AGENT_FILES_ROOTDIR: z.string().min(1).optional(),
  WRENN_AGENT_LISTEN: listenAddress.default('127.0.0.1:50051'),
  WRENN_CP_URL: z.url({ protocol: /^https?$/ }).optional(),
  WRENN_SLOTS: slotRange.default({ first: 1, last: LAST_SLOT }),
  WRENN_SLOT_POOL: z.coerce.number().int().min(0).max(256).default(4),
  WRENN_WARM_POOL: warmPool.default(new Map([['minimal', 1]])),
  WRENN_VMM_POOL: z.coerce.number().int().min(0).max(64).default(2),
  /** `1`: teams share no pages of a template's memory (docs/snapshots.md). */
  WRENN_ISOLATE_TEMPLATES: z
    .enum(['0', '1'])
    .default('0')
    .transform((text) => text === '1'),
  /** Asked for guests whose egress policy names domains; none: those of the host's own resolv.conf. */
  WRENN_NAME_SERVERS: nameServers.default([]),
  WRENN_VMM: z.enum(['auto', 'firecracker', 'qemu']).default('auto'),
  /** Firecracker's program, where it is not in `PATH`. */
  WRENN_FIRECRACKER_BIN: z.string().min(1).optional(),
  WRENN_DISKS: z.enum(['auto', 'dm', 'qcow2', 'raw']).default('auto'),
  WRENN_LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info'),
  WRENN_HOST_MEMORY_MB: z.coerce
    .number()
    .int()
    .min(128)
    .default(Math.floor(totalmem() / MIB)),
  WRENN_HOST_VCPUS: z.coerce
    .number()
    .int()
    .min(1)
    .default(availableParallelism() * VCPUS_PER_CORE),
});

export type AgentSettings = z.infer<typeof agentSettings>;

/** VMs made ahead are nobody's yet: where teams share nothing of a template there are none. */
export function warmPoolOf(settings: AgentSettings): ReadonlyMap<string, number> {
  return settings.WRENN_ISOLATE_TEMPLATES ? new Map() : settings.WRENN_WARM_POOL;
}

const DEFAULT_ROOT = '/var/lib/wrenn';

export function rootOf(settings: AgentSettings): string {
  return settings.WRENN_DIR ?? settings.AGENT_FILES_ROOTDIR ?? DEFAULT_ROOT;
}
