import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AgentFiles } from '../../agent/src/files.ts';
import { ensureAccount } from '../../scripts/dev/account.ts';
import { apiClient } from '../../scripts/dev/api.ts';
import { cleanHost } from '../../scripts/dev/clean-host.ts';
import { ensureDatabase, startPostgres } from '../../scripts/dev/postgres.ts';
import { startRedis } from '../../scripts/dev/redis.ts';
import { agentEnv, controlPlaneEnv } from '../../scripts/dev/services.ts';
import { apiUrl } from '../../scripts/dev/settings.ts';
import { CHECKOUT } from '../../scripts/lib/checkout.ts';
import { sayClaim } from './claim.ts';
import { Client } from './client.ts';
import { randomDeath, sayDeath } from './death.ts';
import type { Finding } from './finding.ts';
import { HOST, settingsIn, shared } from './host.ts';
import { doubled, liveVms } from './live-vms.ts';
import { Program } from './program.ts';
import { Random } from './random.ts';
import { Reborn } from './reborn.ts';
import { verify } from './verify.ts';

export interface StormOptions {
  /** How many processes are killed. */
  readonly kills: number;
  readonly seed: number;
  /** Network slots of its agent, apart from all others on this machine. */
  readonly slots: string;
  readonly say: (line: string) => void;
  /** Ends it early; what it has started and made is removed. */
  readonly signal: AbortSignal;
}

export interface StormReport {
  readonly kills: Readonly<Record<string, number>>;
  readonly creates: number;
  /** What was done with them, by its name. */
  readonly moves: Readonly<Record<string, number>>;
  readonly seconds: number;
  /** What is lost, doubled, stuck or otherwise not as the invariants say; none is what should be. */
  readonly findings: readonly string[];
}

const CLIENTS = 6;
/** Of kills: VMMs, PostgreSQL and Redis; the rest are the two programs. */
const VMM_EVERY_MS = [300, 1_500] as const;
const DAEMON_SHARE = 0.02;
/** A life whose death does not come by itself ends after so long. */
const LONGEST_LIFE_MS = 6_000;
const SAMPLE_MS = 100;
/** Every command is answered within its deadlines; the longest way is a start that is tried, asked about and given up. */
const LAST_ANSWER_MS = 300_000;
/** How often it tells what it waits for. */
const TELL_MS = 15_000;

/**
 * A crash storm (design.md §7): clients create, pause, resume, fork, keep and destroy sandboxes while control plane, agent,
 * VMMs, PostgreSQL and Redis are killed again and again, each at a point that the seed chooses: before, during and after
 * every durable write, or at any time, while starting too. In the end everything is started once more, and nothing may be
 * lost, doubled or stuck.
 */
export async function storm({ kills: wanted, seed, slots, say, signal }: StormOptions): Promise<StormReport> {
  const began = performance.now();
  const dir = mkdtempSync(join(tmpdir(), 'wrenn-storm-'));
  const random = new Random(seed);
  const ofPrograms: Record<string, number> = { 'control plane': 0, agent: 0, VMM: 0 };
  const seen: Finding[] = [];
  const over = new AbortController();
  const interrupt = () => over.abort(signal.reason);
  signal.addEventListener('abort', interrupt, { once: true });
  const settings = await settingsIn(dir, slots);
  const postgres = await Reborn.start(() =>
    startPostgres({ dir: join(dir, 'postgres'), port: settings.postgresPort, fsync: false, tied: true }),
  );
  const redis = await Reborn.start(() =>
    startRedis({ dir: join(dir, 'redis'), port: settings.redisPort, persist: false, tied: true }),
  );
  const controlPlane = new Program({
    name: 'control plane',
    script: join(CHECKOUT, 'gateway/src/main.ts'),
    env: { ...controlPlaneEnv(settings), ...shared(dir) },
    logFile: join(dir, 'control-plane.log'),
    url: apiUrl(settings),
  });
  const agent = new Program({
    name: 'agent',
    script: join(import.meta.dirname, 'agent-child.ts'),
    env: { ...agentEnv(settings), ...shared(dir), ...HOST },
    logFile: join(dir, 'agent.log'),
    url: `http://${settings.agentListen}`,
  });
  const kills = () => ({ ...ofPrograms, PostgreSQL: postgres.kills, Redis: redis.kills });
  const total = () => Object.values(kills()).reduce((sum, count) => sum + count, 0);

  /** One life after the other until there were kills enough. */
  async function mortal(program: Program, deaths: Random): Promise<void> {
    while (total() < wanted && !over.signal.aborted) {
      const death = randomDeath(deaths);
      const ofDatabase = postgres.kills;
      const outcome = await program.start(death);
      if (outcome === 'serves') await program.death(LONGEST_LIFE_MS);
      if (outcome === 'ended') {
        // It could not start: a reason only where its database went away meanwhile.
        if (ofDatabase === postgres.kills && !postgres.isAway) await program.death(0);
        continue;
      }
      ofPrograms[program.name] = (ofPrograms[program.name] ?? 0) + 1;
      if (total() % 50 === 0) say(`${total()} of ${wanted} kills; the last: ${program.name} ${sayDeath(death)}`);
      if (deaths.chance(DAEMON_SHARE)) await postgres.kill();
      if (deaths.chance(DAEMON_SHARE)) await redis.kill();
    }
  }

  const killedVms = new Set<string>();
  async function killVmms(choices: Random): Promise<void> {
    while (total() < wanted && !over.signal.aborted) {
      await sleep(choices.whole(...VMM_EVERY_MS));
      const [vmId, pids] = choices.of([...liveVms(settings.wrennDir)]) ?? [];
      if (vmId === undefined) continue;
      killedVms.add(vmId);
      ofPrograms.VMM = (ofPrograms.VMM ?? 0) + 1;
      for (const pid of pids ?? []) process.kill(pid, 'SIGKILL');
    }
  }

  async function sample(): Promise<void> {
    while (!over.signal.aborted) {
      for (const id of doubled(liveVms(settings.wrennDir)))
        seen.push({ line: `I1: two VMs of ${id} lived at one time`, ids: [id] });
      await sleep(SAMPLE_MS);
    }
  }

  let failed = true;
  try {
    await ensureDatabase(postgres.daemon, 'wrenn');
    await controlPlane.startForGood();
    const account = await ensureAccount(settings);
    const admin = apiClient(apiUrl(settings), { token: account.token });
    const { registration_token: token } = await admin.call<{ registration_token: string }>('POST', '/v1/hosts', {
      name: 'storm',
    });
    await agent.startForGood(['run', '--register', token, '--address', settings.agentListen]);
    await untilMember(admin, new AgentFiles(settings.wrennDir).credentials);

    const newClient = (name: string, until: AbortSignal) =>
      new Client({ url: apiUrl(settings), apiKey: account.apiKey, random: random.fork(), name, signal: until });
    const patience = new AbortController();
    const clients = Array.from({ length: CLIENTS }, (_, i) =>
      newClient(`${seed}-${i}`, AbortSignal.any([over.signal, patience.signal])),
    );
    await Promise.all([controlPlane.stop(), agent.stop()]);
    const enough = new AbortController();
    const sampling = sample();
    const working = Promise.allSettled(clients.map((client) => client.run(enough.signal)));
    await Promise.all([mortal(controlPlane, random.fork()), mortal(agent, random.fork()), killVmms(random.fork())]);
    enough.abort();
    await Promise.all([controlPlane.startForGood(), agent.startForGood()]);
    say(`${total()} kills after ${secondsSince(began)} s; everything runs once more`);
    over.signal.throwIfAborted();
    const unanswered = setTimeout(() => patience.abort(), LAST_ANSWER_MS);
    const telling = setInterval(() => {
      const waiting = clients.flatMap(({ waitsFor }) => waitsFor ?? []);
      say(`${clients.length} clients end; asked and not answered: ${waiting.join(', ') || 'nothing'}`);
    }, TELL_MS);
    const ended = await working;
    clearInterval(telling);
    clearTimeout(unanswered);
    for (const [i, one] of ended.entries()) {
      if (one.status === 'fulfilled') continue;
      if (!patience.signal.aborted) throw one.reason;
      const claim = clients[i]?.claims.at(-1);
      if (claim) seen.push({ line: `I8: never answered: ${sayClaim(claim)}`, ids: [claim.id ?? ''] });
    }
    const client = newClient(`${seed}-last`, over.signal);
    const databaseUrl = postgres.daemon.url('wrenn');
    const findings = await verify({ settings, databaseUrl, client, clients, killedVms, agent, seen, say });
    over.abort();
    await sampling;
    failed = findings.length > 0;
    const claims = clients.flatMap((one) => one.claims);
    const moves: Record<string, number> = {};
    for (const { path } of claims.flatMap((claim) => claim.moves)) moves[path] = (moves[path] ?? 0) + 1;
    const creates = claims.filter(({ create }) => create !== null).length;
    return { kills: kills(), creates, moves, seconds: secondsSince(began), findings };
  } finally {
    signal.removeEventListener('abort', interrupt);
    over.abort();
    await Promise.all([controlPlane.stop('SIGKILL'), agent.stop('SIGKILL')]);
    await cleanHost(settings);
    await redis.stop();
    await postgres.stop();
    if (failed) say(`logs and data are in ${dir}`);
    else rmSync(dir, { recursive: true, force: true });
  }
}

const secondsSince = (began: number): number => Math.round((performance.now() - began) / 1000);

/** Its later lives are started without the token: they must find the credentials on disk. */
async function untilMember(admin: ReturnType<typeof apiClient>, credentials: string): Promise<void> {
  for (;;) {
    const { items } = await admin.call<{ items: { status: string }[] }>('GET', '/v1/hosts?limit=10');
    if (items.some(({ status }) => status === 'online') && existsSync(credentials)) return;
    await sleep(50);
  }
}
