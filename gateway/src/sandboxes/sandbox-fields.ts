import { z } from 'zod';

/** Fields of a sandbox as a client sends them, with the ranges of VM10; a value outside is 400 with the range. */

export const DEFAULT_DISK_MB = 20_480;

const range = (min: number, max: number, unit: string) =>
  z
    .int({ error: `must be a whole number of ${unit} from ${min} to ${max}` })
    .min(min, `must be from ${min} to ${max} ${unit}`)
    .max(max, `must be from ${min} to ${max} ${unit}`);

/** PostgreSQL has no NUL in texts, nor has an environment. */
const text = (maxLength: number) =>
  z
    .string()
    .max(maxLength, `must have at most ${maxLength} characters`)
    .regex(/^[^\0]*$/, 'must not contain NUL');

export const vcpus = range(1, 8, 'vCPUs');
export const memoryMb = range(128, 8_192, 'MB');
export const diskSizeMb = range(DEFAULT_DISK_MB, 102_400, 'MB');
/** A year: longer is never. */
export const timeoutSec = range(0, 31_536_000, 'seconds (0 = never)');
export const onTimeout = z.enum(['pause', 'destroy']);
export const onEnd = z.enum(['kill', 'pause']);
export const autoResume = z
  .boolean()
  .meta({ description: 'Requests for its ports, commands and files resume it when it is paused' });
export const endsAt = z.iso.datetime({ offset: true, error: 'must be a time as RFC 3339 writes it' });

export const template = text(128).min(1, 'must not be empty');

const MAX_LABELS = 64;
export const labels = z
  .record(
    z
      .string()
      .regex(/^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/, 'label names have 1 to 63 of A-Z a-z 0-9 . _ / -'),
    text(255),
  )
  .refine((value) => Object.keys(value).length <= MAX_LABELS, `must have at most ${MAX_LABELS} labels`);

const MAX_ENVS = 256;
export const envs = z
  .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,255}$/, 'names of variables have A-Z a-z 0-9 _'), text(32_768))
  .refine((value) => Object.keys(value).length <= MAX_ENVS, `must have at most ${MAX_ENVS} variables`);

export const publicPorts = z.union([z.array(range(1, 65_535, '(a port)')).max(64), z.literal('all')], {
  error: 'must be a list of ports from 1 to 65535, or "all"',
});
