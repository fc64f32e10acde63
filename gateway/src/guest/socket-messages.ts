import { z } from 'zod';
import { badRequest } from '../http/problems.ts';
import type { SocketMessage } from '../http/socket.ts';
import * as fields from './process-schemas.ts';

/** What a client sends on the sockets of API2 (docs/contracts.md, "WebSockets"). */

const encoding = z.enum(['utf-8', 'base64']);
const cols = z.int().min(1).max(10_000);
const rows = z.int().min(1).max(10_000);
const attach = {
  pid: fields.pid.optional(),
  tag: fields.tag.optional(),
  replay: z.boolean().default(false),
};

const control = [
  z.strictObject({ type: z.literal('stdin'), data: z.string() }),
  z.strictObject({ type: z.literal('signal'), signal: z.enum(['SIGTERM', 'SIGKILL']) }),
  z.strictObject({ type: z.literal('stop') }),
] as const;

export const execFirst = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('start'),
    cmd: fields.cmd,
    args: fields.args.default([]),
    cwd: fields.cwd.optional(),
    envs: fields.processEnvs.default({}),
    user: fields.user.optional(),
    stdin: z.boolean().default(false),
    timeout_sec: fields.timeoutSec.default(0),
    encoding: encoding.default('utf-8'),
    tag: fields.tag.optional(),
  }),
  z.strictObject({ type: z.literal('connect'), ...attach, encoding: encoding.default('utf-8') }),
]);
export type ExecFirst = z.output<typeof execFirst>;

export const execMessage = z.discriminatedUnion('type', [
  ...control,
  z.strictObject({ type: z.literal('close_stdin') }),
]);

export const ptyFirst = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('start'),
    cols: cols.default(80),
    rows: rows.default(24),
    cmd: fields.cmd.optional(),
    args: fields.args.default([]),
    cwd: fields.cwd.optional(),
    envs: fields.processEnvs.default({}),
    user: fields.user.optional(),
    tag: fields.tag.optional(),
  }),
  z.strictObject({ type: z.literal('connect'), ...attach }),
]);
export type PtyFirst = z.output<typeof ptyFirst>;

export const ptyMessage = z.discriminatedUnion('type', [
  ...control,
  z.strictObject({ type: z.literal('resize'), cols, rows }),
]);

/** A text frame as one of the schema's messages; anything else is `bad_request`. */
export function parseMessage<S extends z.ZodType>(schema: S, message: SocketMessage): z.output<S> {
  if (message.type !== 'text') throw badRequest('Expected a text frame with a JSON object.');
  let value: unknown;
  try {
    value = JSON.parse(message.text);
  } catch {
    throw badRequest('The frame is not JSON.');
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const words = result.error.issues.map(({ path, message: text }) => `${path.join('.') || 'message'}: ${text}`);
  throw badRequest(words.join('; '));
}
