import type { AgentConnection } from '../agents/agent-connection.ts';
import type { SandboxRoute } from '../sandboxes/sandbox-routes.ts';
import type { Services } from '../services.ts';
import { checkAccess } from './access.ts';
import { CODE_INTERPRETER_PORT, GUEST_AGENT_PORT, type PortAddress } from './address.ts';
import { awake } from './awake.ts';
import { failures, type ProxyFailure } from './failure.ts';
import { isInternal } from './internal-paths.ts';
import type { KeyTeams } from './key-teams.ts';
import type { Question } from './question.ts';
import { accessCookie, type Grant, grantOfCookie, takeFromTarget } from './signed-link.ts';
import { stateFailure } from './state-failure.ts';

/** Codes by which an agent says that what we know of the sandbox is not true any more. */
const MOVED: ReadonlySet<string> = new Set(['stale_incarnation', 'not_running', 'not_found']);
/**
 * For how long a way holds for all requests to the same port with the same credentials. The feed takes it back before,
 * with every transition of the sandbox; this is the safety net.
 */
const KEEP_MS = 1_000;

/** One way to a guest, as the door takes it (`WaySpec` in native/addon/src/door/ways.rs). */
export interface Way {
  readonly sandboxId: string;
  readonly port: number;
  /** The agent's, `ip:port`. */
  readonly address: string;
  /** What the agent asks of us (`Bearer …`). */
  readonly authorization: string;
  readonly incarnation: number;
  /** What the guest is shown as `Host`; null: the client's own host name. */
  readonly maskHost: string | null;
  /** Path and query for the guest; null: as the client wrote them. */
  readonly target: string | null;
  /** For the client. */
  readonly setCookie: string | null;
  /** 0: it is for this request alone. */
  readonly keepMs: number;
}

/** What a request may do, and where it goes; no query of the database once the sandbox is known. */
export class PassageFinder {
  readonly #services: Services;
  readonly #keys: KeyTeams;
  readonly #address: PortAddress;
  readonly #question: Question;
  /** Without what only we understand. */
  readonly #target: string;
  /** Of the link that the request came by; the answer sets a cookie with it. */
  readonly #link: Grant | null;
  readonly #cookieGrant: Grant | null;
  #route: SandboxRoute | null = null;

  constructor(services: Services, keys: KeyTeams, address: PortAddress, question: Question) {
    this.#services = services;
    this.#keys = keys;
    this.#address = address;
    this.#question = question;
    const fromTarget = takeFromTarget(question.target);
    this.#target = fromTarget?.target ?? question.target;
    this.#link = fromTarget?.grant ?? null;
    this.#cookieGrant = grantOfCookie(question.cookie);
  }

  /** E2B's errors: to its ports, by its headers, or to a sandbox that its surface made (PX3). */
  get e2b(): boolean {
    const { port, byHeaders } = this.#address;
    return byHeaders || port === GUEST_AGENT_PORT || port === CODE_INTERPRETER_PORT || this.#route?.e2b === true;
  }

  /** Throws a `ProxyFailure`. */
  async find(): Promise<Way> {
    const { sandboxId } = this.#address;
    const { sandboxRoutes } = this.#services;
    const route = sandboxRoutes.peek(sandboxId) ?? (await sandboxRoutes.reload(sandboxId));
    if (!route) throw failures.unknown(sandboxId);
    await this.#check(route);
    return this.#through(route);
  }

  /** After an agent refused: another way, if the sandbox has been started anew meanwhile; else throws what is true. */
  async findAgain(code: string, incarnation: number): Promise<Way> {
    const { sandboxId, port } = this.#address;
    if (code === 'guest_error') throw await this.#afterGuestError(incarnation);
    if (code === 'forbidden')
      throw failures.forbidden(sandboxId, port, 'This port needs the access token of the sandbox.');
    if (!MOVED.has(code)) throw failures.hostAway(sandboxId);
    const route = await this.#services.sandboxRoutes.reload(sandboxId);
    if (!route) throw failures.unknown(sandboxId);
    await this.#check(route);
    // It may have been paused meanwhile, and be resumed by this very request.
    const asleep = route.autoResume && route.status !== 'running';
    if (route.incarnation === incarnation && !asleep) throw await stateFailure(this.#services, route);
    return this.#through(route);
  }

  /** The connection to the agent failed: its host is away, or the VM has just ended with it. */
  async afterFailure(failure: 'connect' | 'broken'): Promise<ProxyFailure> {
    const { sandboxId, port } = this.#address;
    const route = await this.#services.sandboxRoutes.reload(sandboxId);
    this.#route = route;
    if (!route) return failures.unknown(sandboxId);
    if (route.status !== 'running') return stateFailure(this.#services, route);
    return failure === 'connect' ? failures.hostAway(sandboxId) : failures.broken(sandboxId, port);
  }

  /** As many are open as may be: who may not enter anyway is told that. */
  async whyFull(limit: number): Promise<ProxyFailure> {
    await this.find();
    return failures.tooMany(this.#address.sandboxId, limit);
  }

  /** Throws where the request may not enter. */
  async #check(route: SandboxRoute): Promise<void> {
    this.#route = route;
    const { sandboxId, port } = this.#address;
    const claim = { ...this.#question.credentials, grant: this.#link ?? this.#cookieGrant };
    if (port === GUEST_AGENT_PORT && isInternal(this.#target)) throw failures.internal(sandboxId);
    await checkAccess(route, port, claim, this.#keys);
  }

  /** A port that is closed, or a sandbox that has just been ended. */
  async #afterGuestError(incarnation: number): Promise<ProxyFailure> {
    const { sandboxId, port } = this.#address;
    const route = await this.#services.sandboxRoutes.get(sandboxId);
    this.#route = route;
    if (!route) return failures.unknown(sandboxId);
    const changed = route.status !== 'running' || route.incarnation !== incarnation;
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
      agent = this.#services.agents.peek(route.hostId) ?? (await this.#services.agents.connect(route.hostId));
    } catch {
      throw failures.hostAway(route.sandboxId);
    }
    return this.#way(route, agent);
  }

  #way(route: SandboxRoute, { endpoint }: AgentConnection): Way {
    const link = this.#link;
    return {
      sandboxId: route.sandboxId,
      port: this.#address.port,
      address: endpoint.address,
      authorization: `Bearer ${endpoint.secret}`,
      incarnation: route.incarnation,
      maskHost: route.maskHost,
      target: link === null ? null : this.#target,
      setCookie: link === null ? null : accessCookie(link, this.#question.secure),
      keepMs: route.status === 'running' ? this.#keepMs() : 0,
    };
  }

  #keepMs(): number {
    if (this.#address.port === GUEST_AGENT_PORT) return 0; // each of its paths is looked at
    const { apiKey } = this.#question.credentials;
    const grant = this.#link ?? this.#cookieGrant;
    const keyMs = apiKey === null ? KEEP_MS : (this.#keys.trustedMs(apiKey) ?? KEEP_MS);
    const grantMs = grant === null ? KEEP_MS : Math.max(0, grant.expires * 1_000 - Date.now());
    return Math.min(KEEP_MS, keyMs, grantMs);
  }
}
