import { ConnectError } from '@connectrpc/connect';
import type { Json } from '@wrenn/core';
import { WrennError } from '@wrenn/core';
import { VmStatus } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import type { AgentConnection, GuestAddress } from '../agents/agent-connection.ts';
import { ERROR_CODE_HEADER } from '../agents/agent-error.ts';
import { noSuchSandbox } from '../sandboxes/sandbox-errors.ts';
import type { SandboxRoute } from '../sandboxes/sandbox-routes.ts';
import { awakened } from '../sandboxes/wake-sandbox.ts';
import type { Services } from '../services.ts';
import { fromGuest } from './guest-error.ts';

/** The guest of a running sandbox of the caller's team, through its host's agent. */
export interface Guest {
  readonly agent: AgentConnection;
  readonly address: GuestAddress;
  readonly sandboxId: string;
}

/**
 * To use it: with `auto_resume` a paused one is resumed first. Throws 404 for unknown and foreign sandboxes, 409 for those
 * that do not run. Asks no database once it is known.
 */
export async function openGuest(services: Services, teamId: string, sandboxId: string): Promise<Guest> {
  const route = await routeOf(services, teamId, sandboxId);
  return connect(services, mayAnswer(route.status) ? route : await awakened(services, route));
}

/** As `openGuest`, to look at it: nothing is resumed for that. */
export async function watchGuest(services: Services, teamId: string, sandboxId: string): Promise<Guest> {
  return connect(services, await routeOf(services, teamId, sandboxId));
}

async function routeOf(services: Services, teamId: string, sandboxId: string): Promise<SandboxRoute> {
  const route = await services.sandboxRoutes.get(sandboxId);
  if (!route || route.teamId !== teamId) throw noSuchSandbox();
  return route;
}

/**
 * While the control plane is pausing it, its agent decides: a timer only asks to pause what is idle, and a sandbox that is
 * used at that moment runs on.
 */
function mayAnswer(status: SandboxRoute['status']): boolean {
  return status === 'running' || status === 'pausing';
}

async function connect(services: Services, route: SandboxRoute): Promise<Guest> {
  const { sandboxId, incarnation, hostId } = route;
  if (!mayAnswer(route.status) || hostId === null) throw await notRunning(services, sandboxId);
  const agent = await services.agents.connect(hostId);
  return { agent, address: { sandboxId, incarnation }, sandboxId };
}

/** Codes by which an agent says that what we know of the sandbox is not true any more. */
const MOVED: ReadonlySet<string> = new Set(['stale_incarnation', 'not_running', 'not_found']);

/**
 * Does `use` with the guest. Where the agent says that our route is old, the truth is looked up: `use` is done again with
 * a newer incarnation (nothing of the first reached a guest, since the agent's front refused it), or the caller is told
 * the state.
 */
export async function withGuest<Result>(
  services: Services,
  teamId: string,
  sandboxId: string,
  use: (guest: Guest) => Promise<Result>,
): Promise<Result> {
  const guest = await openGuest(services, teamId, sandboxId);
  try {
    return await use(guest);
  } catch (error) {
    const newer = await newerGuest(services, guest, error);
    if (!newer) throw await explain(services, guest, error);
    try {
      return await use(newer);
    } catch (second) {
      throw await explain(services, newer, second);
    }
  }
}

async function newerGuest(services: Services, guest: Guest, error: unknown): Promise<Guest | null> {
  if (!moved(error)) return null;
  const known = await services.sandboxRoutes.reload(guest.sandboxId);
  const route = known && (await awakened(services, known)); // it may have been paused meanwhile
  if (route?.status !== 'running' || route.incarnation === guest.address.incarnation) return null;
  return connect(services, route);
}

/** What the caller is told of a failed use: a sandbox that ended meanwhile is 409, not a broken connection. */
export async function explain(services: Services, guest: Guest, error: unknown): Promise<WrennError> {
  const known = fromGuest(error);
  if (!moved(error) && known.code !== 'host_unreachable' && known.code !== 'guest_error') return known;
  const route = await services.sandboxRoutes.reload(guest.sandboxId);
  const changed = route?.status !== 'running' || route.incarnation !== guest.address.incarnation;
  const over = changed || moved(error) || (await hasEnded(guest));
  return over ? notRunning(services, guest.sandboxId) : known;
}

/** A connection that broke may be the first we hear of the VM's end: its host knows. */
const ASK_TIMEOUT_MS = 2_000;
async function hasEnded({ agent, address }: Guest): Promise<boolean> {
  const { sandboxId, incarnation } = address;
  try {
    const { report } = await agent.rpc.inspectSandbox({ sandboxId }, { timeoutMs: ASK_TIMEOUT_MS });
    return report !== undefined && (report.status !== VmStatus.READY || report.incarnation !== incarnation);
  } catch {
    return false; // the host is away: that is what the caller is told
  }
}

function moved(error: unknown): boolean {
  const code = error instanceof ConnectError ? error.metadata.get(ERROR_CODE_HEADER) : frontCode(error);
  return code !== null && MOVED.has(code);
}

function frontCode(error: unknown): string | null {
  return error instanceof WrennError && asObject(error.details).front === true ? error.code : null;
}

/** 409 with the state, since when, and what is legal now. */
async function notRunning({ runtime }: Services, sandboxId: string): Promise<WrennError> {
  const view = await runtime.read({ kind: 'sandbox', id: sandboxId });
  if (!view) return noSuchSandbox();
  const legal = runtime.legalCommands(view).flatMap((command) => (command.legal ? [command.type] : []));
  const state = view.path.split(/[.+]/, 1)[0] ?? '';
  const message = state === 'running' ? 'Its VM has just ended.' : `The sandbox is ${state}; this needs a running one.`;
  return new WrennError('not_running', message, {
    details: { state, since: new Date(view.since).toISOString(), legal_commands: legal },
  });
}

function asObject(details: Json): { readonly [name: string]: Json | undefined } {
  return details !== null && typeof details === 'object' && !Array.isArray(details) ? details : {};
}
