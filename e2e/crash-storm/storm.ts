import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ensureAccount } from '../../scripts/dev/account.ts';
import { apiClient } from '../../scripts/dev/api.ts';
import { cleanHost } from '../../scripts/dev/clean-host.ts';
import { ensureDatabase, type Postgres, startPostgres } from '../../scripts/dev/postgres.ts';
import { startRedis } from '../../scripts/dev/redis.ts';
import { agentEnv, controlPlaneEnv } from '../../scripts/dev/services.ts';
import { apiUrl, type StackSettings, stackSettings } from '../../scripts/dev/settings.ts';
import { CHECKOUT } from '../../scripts/lib/checkout.ts';
import { freePort } from '../../scripts/lib/free-port.ts';
import { Client } from './client.ts';
import { randomDeath, sayDeath } from './death.ts';
import { doubled, liveVms, sandboxOf } from './live-vms.ts';
import { Program } from './program.ts';
import { Random } from './random.ts';
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
  readonly seconds: number;
  /** What is lost, doubled, stuck or otherwise not as the invariants say; none is what should be. */
  readonly findings: readonly string[];
}

const CLIENTS = 4;
/** Of kills: VMMs and PostgreSQL; the rest are the two programs. */
const VMM_EVERY_MS = [300, 1_500] as const;
const POSTGRES_SHARE = 0.02;
/** A life whose death does not come by itself ends after so long. */
const LONGEST_LIFE_MS = 6_000;
const SAMPLE_MS = 100;
const POSTGRES_TRIES = 10;

/**
 * A crash storm (design.md §7): clients create and destroy sandboxes while control plane, agent, VMMs and PostgreSQL are
 * killed again and again, each at a point that the seed chooses: before, during and after every durable write, or at any
 * time, while starting too. In the end everything is started once more, and nothing may be lost, doubled or stuck.
 */
export async function storm({ kills: wanted, seed, slots, say, signal }: StormOptions): Promise<StormReport> {
  const began = performance.now();
  const dir = mkdtempSync(join(tmpdir(), 'wrenn-storm-'));
  const random = new Random(seed);
  const kills: Record<string, number> = { 'control plane': 0, agent: 0, VMM: 0, PostgreSQL: 0 };
  const total = () => Object.values(kills).reduce((sum, count) => sum + count, 0);
  const findings: string[] = [];
  const over = new AbortController();
  const interrupt = () => over.abort(signal.reason);
  signal.addEventListener('abort', interrupt, { once: true });
  const settings = await settingsIn(dir, slots);
  const postgresOptions = { dir: join(dir, 'postgres'), port: settings.postgresPort, fsync: false, tied: true };
  let postgres: Postgres = await startPostgres(postgresOptions);
  await ensureDatabase(postgres, 'wrenn');
  const redis = await startRedis({ dir: join(dir, 'redis'), port: settings.redisPort, persist: false, tied: true });
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

  let restarting: Promise<void> | null = null;
  /** Refuses to start while the killed one's processes are not all gone. */
  async function again(): Promise<Postgres> {
    for (let tries = 1; ; tries += 1) {
      try {
        return await startPostgres(postgresOptions);
      } catch (error) {
        if (tries >= POSTGRES_TRIES) throw error;
        await sleep(200);
      }
    }
  }
  function killPostgres(): Promise<void> {
    restarting ??= (async () => {
      kills.PostgreSQL = (kills.PostgreSQL ?? 0) + 1;
      await postgres.kill();
      postgres = await again();
      restarting = null;
    })();
    return restarting;
  }

  /** One life after the other until there were kills enough. */
  async function mortal(program: Program, deaths: Random): Promise<void> {
    while (total() < wanted && !over.signal.aborted) {
      const death = randomDeath(deaths);
      const ofDatabase = kills.PostgreSQL;
      const outcome = await program.start(death);
      if (outcome === 'serves') await program.death(LONGEST_LIFE_MS);
      if (outcome === 'ended') {
        // It could not start: a reason only where its database went away meanwhile.
        if (ofDatabase === kills.PostgreSQL && !restarting) await program.death(0);
        continue;
      }
      kills[program.name] = (kills[program.name] ?? 0) + 1;
      if (total() % 50 === 0) say(`${total()} of ${wanted} kills; the last: ${program.name} ${sayDeath(death)}`);
      if (deaths.chance(POSTGRES_SHARE)) await killPostgres();
    }
  }

  const killedVms = new Set<string>();
  async function killVmms(choices: Random): Promise<void> {
    while (total() < wanted && !over.signal.aborted) {
      await sleep(choices.whole(...VMM_EVERY_MS));
      const [vmId, pids] = choices.of([...liveVms(settings.wrennDir)]) ?? [];
      if (vmId === undefined) continue;
      killedVms.add(sandboxOf(vmId));
      kills.VMM = (kills.VMM ?? 0) + 1;
      for (const pid of pids ?? []) process.kill(pid, 'SIGKILL');
    }
  }

  async function sample(): Promise<void> {
    while (!over.signal.aborted) {
      for (const id of doubled(liveVms(settings.wrennDir))) findings.push(`I1: two VMs of ${id} lived at one time`);
      await sleep(SAMPLE_MS);
    }
  }

  let failed = true;
  try {
    await controlPlane.startForGood();
    const account = await ensureAccount(settings);
    const admin = apiClient(apiUrl(settings), { token: account.token });
    const { registration_token: token } = await admin.call<{ registration_token: string }>('POST', '/v1/hosts', {
      name: 'storm',
    });
    await agent.startForGood(['run', '--register', token, '--address', settings.agentListen]);
    await untilOnline(admin);

    const clients = Array.from({ length: CLIENTS }, (_, i) => {
      const { apiKey } = account;
      return new Client({
        url: apiUrl(settings),
        apiKey,
        random: random.fork(),
        name: `${seed}-${i}`,
        signal: over.signal,
      });
    });
    await Promise.all([controlPlane.stop(), agent.stop()]);
    const enough = new AbortController();
    const sampling = sample();
    const working = Promise.allSettled(clients.map((client) => client.run(enough.signal)));
    await Promise.all([mortal(controlPlane, random.fork()), mortal(agent, random.fork()), killVmms(random.fork())]);
    enough.abort();
    await Promise.all([controlPlane.startForGood(), agent.startForGood()]);
    say(`${total()} kills; everything runs once more`);
    over.signal.throwIfAborted();
    const broken = (await working).find((ended) => ended.status === 'rejected');
    if (broken) throw broken.reason;
    const claims = clients.flatMap((client) => client.claims);
    findings.push(...(await verify({ settings, postgres, client: clients[0] as Client, claims, killedVms, agent })));
    over.abort();
    await sampling;
    failed = findings.length > 0;
    return {
      kills,
      creates: claims.length,
      seconds: Math.round((performance.now() - began) / 1000),
      findings: [...new Set(findings)],
    };
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

/** The folder of an agent with one small image: nothing of it is ever run. */
async function settingsIn(dir: string, slots: string): Promise<StackSettings> {
  const wrennDir = join(dir, 'lib');
  for (const folder of ['images', 'kernels']) mkdirSync(join(wrennDir, folder), { recursive: true });
  writeFileSync(join(wrennDir, 'kernels/initrd'), '');
  writeFileSync(join(wrennDir, 'images/minimal.json'), '{"ready_port":null}');
  const image = join(wrennDir, 'images/minimal.ext4');
  writeFileSync(image, '');
  truncateSync(image, 1 << 20);
  const env = {
    WRENN_DIR: wrennDir,
    WRENN_LISTEN: `127.0.0.1:${await freePort()}`,
    WRENN_AGENT_LISTEN: `127.0.0.1:${await freePort()}`,
    WRENN_SLOTS: slots,
  };
  return stackSettings(env, dir);
}

/** A roomy host with nothing running but what is asked for. */
const HOST = {
  WRENN_HOST_MEMORY_MB: '65536',
  WRENN_HOST_VCPUS: '512',
  WRENN_SLOT_POOL: '2',
  WRENN_WARM_POOL: 'minimal=0',
  WRENN_VMM_POOL: '0',
};

/** Programs that start a thousand times keep their compiled code. */
function shared(dir: string): NodeJS.ProcessEnv {
  return {
    NODE_COMPILE_CACHE: join(dir, 'compiled'),
    WRENN_LOG_LEVEL: process.env.WRENN_LOG_LEVEL ?? 'warn',
  };
}

async function untilOnline(admin: ReturnType<typeof apiClient>): Promise<void> {
  for (;;) {
    const { items } = await admin.call<{ items: { status: string }[] }>('GET', '/v1/hosts?limit=10');
    if (items.some(({ status }) => status === 'online')) return;
    await sleep(50);
  }
}
