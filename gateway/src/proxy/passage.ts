import type { AgentConnection } from '../agents/agent-connection.ts';
import type { SandboxRoute } from '../sandboxes/sandbox-routes.ts';
import type { Services } from '../services.ts';
import { checkAccess } from './access.ts';
import { CODE_INTERPRETER_PORT, GUEST_AGENT_PORT, type PortAddress } from './address.ts';
import type { SocketFailure } from './agent-socket.ts';
import { awake } from './awake.ts';
import { failures } from './failure.ts';
import { isInternal } from './internal-paths.ts';
import type { KeyTeams } from './key-teams.ts';
import type { Passage } from './outgoing-head.ts';
import type { ProxiedHead } from './request-fields.ts';
import { type Grant, takeFromCookie, takeFromTarget } from './signed-link.ts';
import { stateFailure } from './state-failure.ts';

/** Codes by which an agent says that what we know of the sandbox is not true any more. */
const MOVED: ReadonlySet<string> = new Set(['stale_incarnation', 'not_running', 'not_found']);

/** One way to a guest: through which agent, and as what. */
export interface Way {
  readonly agent: AgentConnection;
  readonly passage: Passage;
}

/** What a request may do, and where it goes; no query of the database once the sandbox is known. */
export class PassageFinder {
  readonly #services: Services;
  readonly #keys: KeyTeams;
  readonly #address: PortAddress;
  readonly #head: ProxiedHead;
  readonly #target: string;
  readonly #cookie: string | null;
  /** Of the link that the request came by; the answer sets a cookie with it. */
  readonly link: Grant | null;
  readonly #cookieGrant: Grant | null;
  #route: SandboxRoute | null = null;

  constructor(services: Services, keys: KeyTeams, address: PortAddress, head: ProxiedHead) {
    this.#services = services;
    this.#keys = keys;
    this.#address = address;
    this.#head = head;
    const fromTarget = takeFromTarget(head.target);
    const { cookie, grant } = takeFromCookie(head.cookie);
    this.#target = fromTarget?.target ?? head.target;
    this.#cookie = cookie;
    this.link = fromTarget?.grant ?? null;
    this.#cookieGrant = grant;
  }

  /** E2B's errors: to its ports, by its headers, or to a sandbox that its surface made (PX3). */
  get e2b(): boolean {
    const { port, byHeaders } = this.#address;
    return byHeaders || port === GUEST_AGENT_PORT || port === CODE_INTERPRETER_PORT || this.#route?.e2b === true;
  }

  /** Throws a `ProxyFailure`. Answers at once where everything is known, which is the case for all but first requests. */
  find(): Way | Promise<Way> {
    const route = this.#services.sandboxRoutes.peek(this.#address.sandboxId);
    if (!route) return this.#look();
    const access = this.#check(route);
    if (access) return access.then(() => this.#through(route));
    const agent = route.hostId === null ? undefined : this.#services.agents.peek(route.hostId);
    return agent && route.status === 'running' ? this.#way(route, agent) : this.#through(route);
  }

  async #look(): Promise<Way> {
    const { sandboxId } = this.#address;
    const route = await this.#services.sandboxRoutes.reload(sandboxId);
    if (!route) throw failures.unknown(sandboxId);
    await this.#check(route);
    return this.#through(route);
  }

  #check(route: SandboxRoute): undefined | Promise<void> {
    this.#route = route;
    const { sandboxId, port } = this.#address;
    const claim = { ...this.#head.credentials, grant: this.link ?? this.#cookieGrant };
    if (port === GUEST_AGENT_PORT && isInternal(this.#target)) throw failures.internal(sandboxId);
    return checkAccess(route, port, claim, this.#keys);
  }

  /** After an agent refused: another way, if the sandbox has been started anew meanwhile; else throws what is true. */
  async findAgain(code: string, tried: Way): Promise<Way> {
    const { sandboxId, port } = this.#address;
    if (code === 'guest_error') throw await this.#afterGuestError(tried);
    if (code === 'forbidden')
      throw failures.forbidden(sandboxId, port, 'This port needs the access token of the sandbox.');
    if (!MOVED.has(code)) throw failures.hostAway(sandboxId);
    const route = await this.#services.sandboxRoutes.reload(sandboxId);
    this.#route = route;
    if (!route) throw failures.unknown(sandboxId);
    if (route.incarnation === tried.passage.incarnation) throw await stateFailure(this.#services, route);
    return this.#through(route);
  }

  /** The connection to the agent failed: its host is away, or the VM has just ended with it. */
  async afterFailure(failure: SocketFailure): Promise<Error> {
    const { sandboxId, port } = this.#address;
    const route = await this.#services.sandboxRoutes.reload(sandboxId);
    if (!route) return failures.unknown(sandboxId);
    if (route.status !== 'running') return stateFailure(this.#services, route);
    return failure === 'connect' ? failures.hostAway(sandboxId) : failures.broken(sandboxId, port);
  }

  /** A port that is closed, or a sandbox that has just been ended. */
  async #afterGuestError(tried: Way): Promise<Error> {
    const { sandboxId, port } = this.#address;
    const route = await this.#services.sandboxRoutes.get(sandboxId);
    if (!route) return failures.unknown(sandboxId);
    const changed = route.status !== 'running' || route.incarnation !== tried.passage.incarnation;
    return changed ? stateFailure(this.#services, route) : failures.closedPort(sandboxId, port);
  }

  async #through(found: SandboxRoute): Promise<Way> {
    const route = await awake(this.#services, found);
    this.#route = route;
    // While it is being paused its agent decides: a timer only asks to pause what is idle.
    const mayAnswer = route.status === 'running' || route.status === 'pausing';
    if (!mayAnswer || route.hostId === null) throw await stateFailure(this.#services, route);
    let agent: AgentConnection;
    try {
      agent = await this.#services.agents.connect(route.hostId);
    } catch {
      throw failures.hostAway(route.sandboxId);
    }
    return this.#way(route, agent);
  }

  #way(route: SandboxRoute, agent: AgentConnection): Way {
    const passage: Passage = {
      address: this.#address,
      incarnation: route.incarnation,
      authorization: `Bearer ${agent.endpoint.secret}`,
      target: this.#target,
      cookie: this.#cookie,
      maskHost: route.maskHost,
    };
    return { agent, passage };
  }
}
