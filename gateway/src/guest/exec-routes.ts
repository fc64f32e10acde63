import { Signal } from '@wrenn/proto/process/process_pb';
import { z } from 'zod';
import { type Routes, route } from '../http/route.ts';
import { sandboxId } from '../sandboxes/sandbox-id.ts';
import { exec } from './exec.ts';
import { selector } from './exec-stream.ts';
import { withGuest } from './guest.ts';
import { signalProcess } from './guest-process.ts';
import * as fields from './process-schemas.ts';

const tag = 'Commands';
const params = z.strictObject({ id: sandboxId });

const execBody = z
  .strictObject({
    cmd: fields.cmd.meta({ description: 'The program; no shell looks at it', examples: ['python3'] }),
    args: fields.args.default([]),
    cwd: fields.cwd.optional(),
    envs: fields.processEnvs.default({}),
    stdin: z.string().optional(),
    user: fields.user.optional(),
    timeout_sec: fields.timeoutSec.default(30).meta({ description: 'It is killed after so long; 0 = never' }),
  })
  .meta({ id: 'Exec' });

const execResult = z
  .object({
    stdout: z.string(),
    stderr: z.string(),
    exit_code: z.int().meta({ description: '127: no such command; -1: ended by a signal' }),
    duration_ms: z.number(),
    encoding: z.enum(['utf-8', 'base64']),
  })
  .meta({ id: 'ExecResult' });

const processObject = z
  .object({
    pid: z.int(),
    tag: z.string().nullable(),
    cmd: z.string(),
    args: z.array(z.string()),
    cwd: z.string().nullable(),
  })
  .meta({ id: 'Process' });

/** API2 without its WebSockets. */
export const execRoutes: Routes = [
  route({
    method: 'POST',
    path: '/v1/sandboxes/{id}/exec',
    auth: ['K', 'J'],
    tag,
    summary: 'Run a command to its end',
    params,
    body: execBody,
    responses: { 200: { description: 'What came of it, whatever its exit code', schema: execResult } },
    handler: async ({ auth, params: { id }, body, signal }, services) => {
      const { stdin, timeout_sec, user, ...command } = body;
      const request = { ...command, user: user ?? null, timeoutMs: timeout_sec === 0 ? null : timeout_sec * 1_000 };
      const result = await withGuest(services, auth.teamId, id, (guest) => exec(guest, request, stdin, signal));
      return { status: 200, body: result };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/sandboxes/{id}/processes',
    auth: ['K', 'J'],
    tag,
    summary: 'Live processes that were started through the API',
    params,
    responses: { 200: { description: 'All of them', schema: z.object({ items: z.array(processObject) }) } },
    handler: async ({ auth, params: { id }, signal }, services) => {
      const { processes } = await withGuest(services, auth.teamId, id, ({ agent, address }) =>
        agent.processes(address, null).list({}, { signal }),
      );
      const items = processes.map(({ pid, tag: name, config }) => ({
        pid,
        tag: name ?? null,
        cmd: config?.cmd ?? '',
        args: config?.args ?? [],
        cwd: config?.cwd ?? null,
      }));
      return { status: 200, body: { items } };
    },
  }),
  route({
    method: 'DELETE',
    path: '/v1/sandboxes/{id}/processes',
    auth: ['K', 'J'],
    tag,
    summary: 'End a process and its children, by pid or tag',
    params,
    query: z.strictObject({
      pid: fields.pid.optional(),
      tag: fields.tag.optional(),
      signal: z.enum(['SIGTERM', 'SIGKILL']).default('SIGKILL'),
    }),
    responses: { 204: { description: 'Signalled' } },
    handler: async ({ auth, params: { id }, query, signal }, services) => {
      const which = selector(query);
      await withGuest(services, auth.teamId, id, (guest) => signalProcess(guest, which, Signal[query.signal], signal));
      return { status: 204 };
    },
  }),
];
