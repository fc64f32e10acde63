import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { startRedis } from '../../scripts/dev/redis.ts';
import { freePort } from '../../scripts/lib/free-port.ts';
import { type BenchPostgres, benchPostgres } from '../lib/bench-postgres.ts';

export const SANDBOX_ID = `sb${'0'.repeat(20)}`;
/** The "guest": an address of this machine, so that a VM's own speed is not what is measured. */
export const GUEST_IP = '127.0.88.1';
export const GUEST_PORT = 8_088;
const ECHO_PORT = 8_089;
export const BODY_BYTES = 268_435_456;
const SECRET = 'secret of a benchmark';

/** A way to the same server. `host` is sent as `Host`. */
export interface Way {
  readonly name: string;
  readonly port: number;
  readonly address: string;
  readonly host: string;
  /** The same for the server of WebSockets. */
  readonly socketPort: number;
  readonly socketHost: string;
  /** Whose memory counts for open connections. */
  readonly pids: readonly number[];
}

export interface ProxyStack {
  readonly direct: Way;
  readonly wrenn: Way;
  readonly nginx: Way;
  readonly httpProxy: Way;
  stop(): Promise<void>;
}

/** Everything on loopback: a server, and three pairs of hops in front of it, each hop one process. */
export async function startProxyStack(): Promise<ProxyStack> {
  const dir = mkdtempSync(join(tmpdir(), 'wrenn-bench-proxy-'));
  const children: ChildProcess[] = [];
  const stopped: (() => Promise<void>)[] = [];
  const start = async (argv: string[], env: NodeJS.ProcessEnv = process.env) => {
    const child = spawn(argv[0] as string, argv.slice(1), { env, stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    return child;
  };
  const program = async (file: string, ...args: string[]) => {
    const child = await start([process.execPath, join(import.meta.dirname, file), ...args]);
    const [line] = await once(createInterface({ input: child.stdout as NodeJS.ReadableStream }), 'line');
    return { port: Number(line), pid: child.pid as number };
  };

  mkdirSync(join(dir, 'www'));
  writeFileSync(join(dir, 'www/large'), '');
  truncateSync(join(dir, 'www/large'), BODY_BYTES);
  const server = `server { listen ${GUEST_IP}:${GUEST_PORT} backlog=4096; keepalive_requests 100000000; sendfile on;
    location = / { default_type text/plain; return 200 "hello, world"; } location /large { root ${dir}/www; } }`;
  await nginx(start, dir, 'server', server);
  await program('echo-child.ts', GUEST_IP, String(ECHO_PORT));
  const [inner, outer] = [await freePort(), await freePort()];
  const nginxPids = [
    await nginx(start, dir, 'inner', hop(inner, `${GUEST_IP}:${GUEST_PORT}`, `${GUEST_IP}:${ECHO_PORT}`)),
    await nginx(start, dir, 'outer', hop(outer, `127.0.0.1:${inner}`, `127.0.0.1:${inner}`)),
  ];

  const far = await program('http-proxy-child.ts', `http://${GUEST_IP}:${GUEST_PORT}`);
  const near = await program('http-proxy-child.ts', `http://127.0.0.1:${far.port}`);
  const farEcho = await program('http-proxy-child.ts', `http://${GUEST_IP}:${ECHO_PORT}`);
  const nearEcho = await program('http-proxy-child.ts', `http://127.0.0.1:${farEcho.port}`);

  const front = await program('front-child.ts', GUEST_IP, SECRET);
  const gateway = await startGateway(dir, start, front.port, stopped);

  return {
    direct: {
      name: 'direct',
      address: GUEST_IP,
      port: GUEST_PORT,
      host: 'a',
      socketPort: ECHO_PORT,
      socketHost: 'a',
      pids: [],
    },
    nginx: {
      name: 'nginx',
      address: '127.0.0.1',
      port: outer,
      host: 'a',
      socketPort: outer,
      socketHost: 'a',
      pids: nginxPids,
    },
    httpProxy: {
      name: 'http-proxy',
      address: '127.0.0.1',
      port: near.port,
      host: 'a',
      socketPort: nearEcho.port,
      socketHost: 'a',
      pids: [near.pid, far.pid, nearEcho.pid, farEcho.pid],
    },
    wrenn: {
      name: 'wrenn',
      address: '127.0.0.1',
      port: gateway.port,
      host: `${GUEST_PORT}-${SANDBOX_ID}.localhost`,
      socketPort: gateway.port,
      socketHost: `${ECHO_PORT}-${SANDBOX_ID}.localhost`,
      pids: [gateway.pid, front.pid],
    },
    stop: async () => {
      for (const child of children) {
        if (child.exitCode !== null) continue;
        child.kill('SIGTERM');
        await once(child, 'exit');
      }
      for (const stop of stopped.reverse()) await stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

type Start = (argv: string[], env?: NodeJS.ProcessEnv) => Promise<ChildProcess>;

function hop(port: number, target: string, echo: string): string {
  return `upstream next { server ${target}; keepalive 512; keepalive_requests 100000000; }
    upstream echo { server ${echo}; }
    map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
    server { listen 127.0.0.1:${port} backlog=4096; keepalive_requests 100000000;
      location /socket { proxy_pass http://echo; proxy_http_version 1.1; proxy_set_header Host $http_host;
        proxy_set_header Connection $connection_upgrade; proxy_set_header Upgrade $http_upgrade; proxy_read_timeout 24h; }
      location / { proxy_pass http://next; proxy_http_version 1.1; proxy_set_header Host $http_host;
        proxy_set_header Connection $connection_upgrade; proxy_set_header Upgrade $http_upgrade;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
        proxy_request_buffering off; proxy_buffering off; proxy_read_timeout 24h; } }`;
}

async function nginx(start: Start, dir: string, name: string, servers: string): Promise<number> {
  const file = join(dir, `${name}.conf`);
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `${kind}_temp_path ${dir}/${name}-${kind};`,
  );
  const main = ['daemon off;', 'master_process off;', `pid ${dir}/${name}.pid;`, 'events { worker_connections 8192; }'];
  writeFileSync(file, [...main, 'http {', 'access_log off;', ...temporary, servers, '}'].join('\n'));
  const child = await start(['nginx', '-p', dir, '-c', file, '-e', join(dir, `${name}.log`)]);
  return child.pid as number;
}

/** A whole control plane, with its database, that knows one running sandbox. */
async function startGateway(dir: string, start: Start, agentPort: number, stopped: (() => Promise<void>)[]) {
  const postgres: BenchPostgres = await benchPostgres();
  stopped.push(() => postgres.stop());
  const url = await postgres.database('proxy', { sql: rows(agentPort), tcp: true });
  const redis = await startRedis({ dir: join(dir, 'redis'), tied: true });
  stopped.push(() => redis.stop());
  const port = await freePort();
  const child = await start([process.execPath, join(import.meta.dirname, '../../gateway/src/main.ts')], {
    ...process.env,
    WRENN_LISTEN: `127.0.0.1:${port}`,
    WRENN_DATABASE_URL: url,
    WRENN_REDIS_URL: redis.url(),
    WRENN_LOG_LEVEL: 'error',
    JWT_SECRET: 'a secret of a benchmark, long enough',
    WRENN_PROXY_MAX_OPEN: '10000',
  });
  while (
    !(await fetch(`http://127.0.0.1:${port}/health`).then(
      ({ ok }) => ok,
      () => false,
    ))
  ) {
    if (child.exitCode !== null) throw new Error('the control plane did not start');
  }
  return { port, pid: child.pid as number };
}

function rows(agentPort: number): string {
  return `
    insert into hosts (id, name, status, status_since, address, created_by, created_at, seq)
      values ('host-bench', 'bench', 'pending', now(), '127.0.0.1:${agentPort}', 'bench', now(), 1);
    insert into host_credentials (host_id, family, control_plane_secret) values ('host-bench', 'bench', '${SECRET}');
    insert into sandboxes (id, team_id, status, status_since, template, vcpus, memory_mb, disk_size_mb, timeout_sec, on_timeout,
        public_ports, host_id, incarnation, access_token, traffic_token, created_by, created_at, seq)
      values ('${SANDBOX_ID}', 'team', 'running', now(), 'minimal', 1, 512, 20480, 0, 'pause',
        '"all"', 'host-bench', 1, 'a', 't', 'bench', now(), 1);`;
}
