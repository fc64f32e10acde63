import { z } from 'zod';
import * as fields from '../sandboxes/sandbox-fields.ts';
import { snapshotName } from '../snapshots/snapshots.ts';

/** Requests of E2B's API. Unlike our own, fields that are not known are passed over: newer SDKs send more. */

/** A day: what one sandbox may live without being prolonged. */
const MAX_TIMEOUT_SEC = 86_400;
export const timeoutSec = z
  .int({ error: 'must be a whole number of seconds' })
  .min(0, 'must not be negative')
  .max(MAX_TIMEOUT_SEC, `Timeout cannot be greater than ${MAX_TIMEOUT_SEC / 3600} hours`);

const text = z
  .string()
  .max(4_096)
  .regex(/^[^\0]*$/, 'must not contain NUL');
const metadata = z.record(z.string().max(256), text);

const hosts = z.array(z.string().max(255)).max(256);

export const network = z.object({
  allowOut: hosts.nullish(),
  denyOut: hosts.nullish(),
  rules: z.record(z.string(), z.unknown()).nullish(),
  egressProxy: z.unknown().optional(),
  allowPublicTraffic: z.boolean().nullish(),
  maskRequestHost: z
    .string()
    .max(255)
    // biome-ignore lint/suspicious/noTemplateCurlyInString: that is how it writes the port
    .regex(/^[A-Za-z0-9.${}_-]+(:[0-9A-Z${}]+)?$/, 'must be a host name, with ${PORT} for the port')
    .nullish(),
});
export type Network = z.output<typeof network>;

const template = z.string().min(1, 'templateID is required').max(255);

/** Fields of both versions. `timeout` has another default in each. */
const common = {
  templateID: template,
  metadata: metadata.nullish(),
  envVars: fields.envs.nullish(),
  autoPause: z.boolean().nullish(),
  autoPauseMemory: z.boolean().nullish(),
  autoResume: z.object({ enabled: z.boolean().nullish() }).nullish(),
  allow_internet_access: z.boolean().nullish(),
  network: network.nullish(),
  volumeMounts: z.array(z.unknown()).nullish(),
  iam: z.object({ tokens: z.record(z.string(), z.unknown()).nullish() }).nullish(),
};

const positive = timeoutSec.min(1, 'must be positive');
export const newSandbox = z.object({ ...common, timeout: timeoutSec.nullish().transform((value) => value ?? 15) });
export const newSandboxV2 = z.object({ ...common, timeout: positive.nullish().transform((value) => value ?? 300) });
export type NewSandbox = z.output<typeof newSandbox>;

export const connectV1 = z.object({ timeout: timeoutSec });
export const connectV2 = z.object({ timeout: timeoutSec.nullish().transform((value) => value ?? 300) });
export const resumeBody = z.object({
  timeout: timeoutSec.nullish().transform((value) => value ?? 15),
  autoPause: z.boolean().nullish(),
});
export const timeoutBody = z.object({ timeout: timeoutSec });
export const pauseBody = z.object({ memory: z.boolean().nullish() });
export const forkBody = z.object({
  count: z
    .int({ error: 'must be a whole number from 1 to 100' })
    .min(1, 'must be from 1 to 100')
    .max(100, 'must be from 1 to 100')
    .nullish(),
  timeout: timeoutSec.nullish().transform((value) => value ?? 15),
});
/** The same names as in our own API: what one surface makes the other can name. */
export const snapshotBody = z.object({ name: z.string().toLowerCase().pipe(snapshotName).nullish() });
export const networkBody = network.extend({ allow_internet_access: z.boolean().nullish() });

const limit = z.coerce.number().int().min(1).max(100).default(100);
export const listQuery = z.object({
  metadata: z.string().optional(),
  state: z.union([z.string(), z.array(z.string())]).optional(),
  startedAfter: z.iso.datetime({ offset: true }).optional(),
  template: z.string().optional(),
  order: z.enum(['asc', 'desc']).default('desc'),
  limit,
  nextToken: z.string().optional(),
});
export const snapshotQuery = z.object({
  sandboxID: z.string().optional(),
  name: z.string().optional(),
  limit,
  nextToken: z.string().optional(),
});
export const metricsQuery = z.object({
  start: z.coerce.number().int().optional(),
  end: z.coerce.number().int().optional(),
});
