import { z } from 'zod';

/** Fields of a command, shared by exec, the streams and the terminal. A NUL would end an argument early. */
const noNul = (schema: z.ZodString) => schema.regex(/^[^\0]*$/, 'must not contain NUL');

const MAX_ARGS = 4_096;
export const cmd = noNul(z.string().min(1, 'must not be empty').max(4_096));
export const args = z.array(noNul(z.string().max(131_072))).max(MAX_ARGS);
export const cwd = noNul(z.string().min(1).max(4_096));
export const processEnvs = z.record(
  z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,255}$/, 'names of variables have A-Z a-z 0-9 _'),
  noNul(z.string().max(131_072)),
);
export const user = z.string().regex(/^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/, 'must be a user name');
export const tag = z
  .string()
  .min(1)
  .max(128)
  .regex(/^[\x20-\x7e]+$/, 'must be printable ASCII');
/** A day; 0 = none. */
export const timeoutSec = z.number().min(0).max(86_400);
export const pid = z.coerce.number().int().min(1).max(4_194_304);
