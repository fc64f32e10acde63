import type { ConnectRouter, HandlerContext, ServiceImpl } from '@connectrpc/connect';
import { HostAgentService } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import type { ServiceContext } from './context.ts';
import { createSandbox } from './create-sandbox.ts';
import { destroySandbox } from './destroy-sandbox.ts';
import { exec, execStream } from './exec.ts';
import { toConnectError } from './failure.ts';
import { readFile, readFileStream, writeFile, writeFileStream } from './files.ts';
import { flattenRootfs } from './flatten-rootfs.ts';
import { inspectSandbox, listSandboxes, pingSandbox } from './inspect.ts';
import { getSandboxMetrics, watchSandboxMetrics } from './metrics.ts';
import { pauseSandbox } from './pause-sandbox.ts';
import { resumeSandbox } from './resume-sandbox.ts';
import { setEgress } from './set-egress.ts';
import { createSnapshot, deleteSnapshot, forkSandbox } from './snapshots.ts';
import { terminate } from './terminate.ts';
import { watchSandboxes } from './watch.ts';

type Method<Request, Response> = (context: ServiceContext, request: Request, signal: AbortSignal) => Response;

/** AG1: the service that the control plane calls. */
export function hostAgentRoutes(context: ServiceContext): (router: ConnectRouter) => void {
  const unary =
    <Request, Response>(method: Method<Request, Response | Promise<Response>>) =>
    async (request: Request, call: HandlerContext): Promise<Response> => {
      try {
        return await method(context, request, call.signal);
      } catch (error) {
        throw report(context, call, error);
      }
    };
  const stream = <Request, Response>(method: Method<Request, AsyncIterable<Response>>) =>
    async function* (request: Request, call: HandlerContext): AsyncGenerator<Response> {
      try {
        yield* method(context, request, call.signal);
      } catch (error) {
        throw report(context, call, error);
      }
    };
  const implementation: ServiceImpl<typeof HostAgentService> = {
    createSandbox: unary(createSandbox),
    destroySandbox: unary(destroySandbox),
    setEgress: unary(setEgress),
    pingSandbox: unary(pingSandbox),
    pauseSandbox: unary(pauseSandbox),
    resumeSandbox: unary(resumeSandbox),
    createSnapshot: unary(createSnapshot),
    forkSandbox: unary(forkSandbox),
    deleteSnapshot: unary(deleteSnapshot),
    flattenRootfs: unary(flattenRootfs),
    inspectSandbox: unary(inspectSandbox),
    listSandboxes: unary(listSandboxes),
    watchSandboxes: stream(watchSandboxes),
    exec: unary(exec),
    execStream: stream(execStream),
    writeFile: unary(writeFile),
    readFile: unary(readFile),
    writeFileStream: unary(writeFileStream),
    readFileStream: stream(readFileStream),
    getSandboxMetrics: unary(getSandboxMetrics),
    watchSandboxMetrics: stream(watchSandboxMetrics),
    terminate: unary(terminate),
  };
  return (router) => router.service(HostAgentService, implementation);
}

function report(context: ServiceContext, call: HandlerContext, error: unknown): Error {
  const failed = toConnectError(error);
  if (failed.metadata.get('wrenn-error-code') === 'internal') {
    context.log.error({ err: error, method: call.method.name }, 'a call failed');
  }
  return failed;
}
