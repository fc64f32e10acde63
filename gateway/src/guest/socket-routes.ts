import { z } from 'zod';
import { type Routes, socketRoute } from '../http/route.ts';
import { sandboxId } from '../sandboxes/sandbox-id.ts';
import { ExecStream } from './exec-stream.ts';
import { processSession } from './process-session.ts';
import { PtySession } from './pty.ts';

const params = z.strictObject({ id: sandboxId });

/** The WebSockets of API2; their messages are in docs/contracts.md. */
export const processSocketRoutes: Routes = [
  socketRoute({
    path: '/v1/sandboxes/{id}/exec/stream',
    auth: ['K', 'J'],
    tag: 'Commands',
    summary: 'Run a command and stream its output',
    params,
    handler: ({ auth, params: { id } }, services) => processSession(services, auth.teamId, id, new ExecStream()),
  }),
  socketRoute({
    path: '/v1/sandboxes/{id}/pty',
    auth: ['K', 'J'],
    tag: 'Commands',
    summary: 'A terminal',
    params,
    handler: ({ auth, params: { id } }, services) => processSession(services, auth.teamId, id, new PtySession()),
  }),
];
