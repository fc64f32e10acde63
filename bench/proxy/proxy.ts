/**
 * Proxied traffic (PX2), one run on loopback: the same server behind two hops each of nginx, http-proxy and Wrenn (gateway
 * and the agent's front), and direct. Needs `wrk` and `nginx`.
 */
import { spawnSync } from 'node:child_process';
import { resultLine } from '../lib/result-line.ts';
import { megabytesPerSecond, openSockets, socketMessages } from './load.ts';
import { cpuSeconds, residentKb } from './process-cost.ts';
import { BODY_BYTES, type ProxyStack, startProxyStack, type Way } from './stack.ts';

const ROUNDS = 5;
const ROUND_SEC = 4;
const CONNECTIONS = 32;
const OPEN = 1_000;
const SOCKETS_MS = 3_000;

interface Measured {
  requests: number;
  p50: number;
  p99: number;
  cpuUs: number;
}

for (const program of ['wrk', 'nginx']) {
  if (spawnSync(program, ['-v']).error === undefined) continue;
  console.error(`proxy: skipped, ${program} is not installed`);
  process.exit(0);
}

const stack = await startProxyStack();
try {
  const ways = [stack.direct, stack.nginx, stack.httpProxy, stack.wrenn];
  await requests(stack, ways);
  await bodies(stack, ways);
  await messages(stack, ways);
  await memory(stack);
} finally {
  await stack.stop();
}

/** Ways take turns, so that a busy moment of the machine is everybody's; the best round of each counts. */
async function requests({ direct, nginx, httpProxy, wrenn }: ProxyStack, ways: readonly Way[]): Promise<void> {
  const best = new Map<Way, Measured>();
  for (const way of ways) wrk(way, 2); // warm
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const way of ways) {
      const now = wrk(way, ROUND_SEC);
      const before = best.get(way);
      if (!before || now.requests > before.requests) best.set(way, now);
    }
  }
  const of = (way: Way) => best.get(way) as Measured;
  for (const way of ways) {
    const { requests: perSecond, p50, p99, cpuUs } = of(way);
    const added = `p50 +${(p50 - of(direct).p50).toFixed(2)} ms, p99 +${(p99 - of(direct).p99).toFixed(2)} ms`;
    console.error(
      `${way.name}: ${perSecond.toFixed(0)} requests/s, ${added}, hops ${cpuUs.toFixed(0)} µs CPU a request`,
    );
  }
  const words = (way: Way) => `${of(wrenn).requests.toFixed(0)} against ${of(way).requests.toFixed(0)} requests/s`;
  console.log(resultLine('proxy requests, of nginx', words(nginx), of(wrenn).requests / of(nginx).requests, '≥ 0.75'));
  console.log(
    resultLine('proxy requests, of http-proxy', words(httpProxy), of(wrenn).requests / of(httpProxy).requests, '≥ 4'),
  );
}

async function bodies({ nginx, wrenn }: ProxyStack, ways: readonly Way[]): Promise<void> {
  const best = new Map<Way, number>();
  for (let round = 0; round < 3; round += 1) {
    for (const way of ways) best.set(way, Math.max(best.get(way) ?? 0, await megabytesPerSecond(way, BODY_BYTES)));
  }
  for (const way of ways) console.error(`${way.name}: ${best.get(way)?.toFixed(0)} MB/s of one body`);
  const [ours, theirs] = [best.get(wrenn) ?? 0, best.get(nginx) ?? 1];
  console.log(
    resultLine('proxy body, of nginx', `${ours.toFixed(0)} against ${theirs.toFixed(0)} MB/s`, ours / theirs, 'none'),
  );
}

async function messages({ nginx, wrenn }: ProxyStack, ways: readonly Way[]): Promise<void> {
  const best = new Map<Way, { perSecond: number; cpuUs: number }>();
  for (let round = 0; round < 3; round += 1) {
    for (const way of ways) {
      const before = cpuOf(way);
      const perSecond = await socketMessages(way, CONNECTIONS, SOCKETS_MS);
      const cpuUs = ((cpuOf(way) - before) * 1_000_000) / ((perSecond * SOCKETS_MS) / 1_000);
      if (perSecond > (best.get(way)?.perSecond ?? 0)) best.set(way, { perSecond, cpuUs });
    }
  }
  for (const [way, { perSecond, cpuUs }] of best) {
    const cpu = `hops ${cpuUs.toFixed(0)} µs CPU a message`;
    console.error(`${way.name}: ${perSecond.toFixed(0)} WebSocket messages/s there and back, ${cpu}`);
  }
  const [ours, theirs] = [best.get(wrenn)?.perSecond ?? 0, best.get(nginx)?.perSecond ?? 1];
  console.log(
    resultLine(
      'proxy WebSocket messages, of nginx',
      `${ours.toFixed(0)} against ${theirs.toFixed(0)}/s`,
      ours / theirs,
      'none',
    ),
  );
}

/** What an open, silent WebSocket costs in gateway and front together: the slope, while as many are open already. */
async function memory({ wrenn, httpProxy }: ProxyStack): Promise<void> {
  for (const way of [wrenn, httpProxy]) {
    const resident = () => way.pids.reduce((sum, pid) => sum + residentKb(pid), 0);
    const closeFirst = await openSockets(way, OPEN);
    const before = resident();
    const close = await openSockets(way, 2 * OPEN);
    const each = (resident() - before) / (2 * OPEN);
    close();
    closeFirst();
    console.error(`${way.name}: ${each.toFixed(1)} KB for each of ${OPEN} to ${3 * OPEN} open WebSockets`);
    if (way === wrenn) console.log(`proxy memory: open WebSocket, gateway and front, ${each.toFixed(1)} KB (bar none)`);
  }
}

function cpuOf(way: Way): number {
  return way.pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
}

function wrk(way: Way, seconds: number): Measured {
  const before = cpuOf(way);
  const argv = ['-t1', `-c${CONNECTIONS}`, `-d${seconds}s`, '--latency', '-H', `Host: ${way.host}`];
  const { stdout } = spawnSync('wrk', [...argv, `http://${way.address}:${way.port}/`], { encoding: 'utf8' });
  if (/Non-2xx|Socket errors/.test(stdout)) throw new Error(`${way.name}: ${stdout}`);
  const total = Number(/(\d+) requests in/.exec(stdout)?.[1]);
  const cpu = cpuOf(way) - before;
  return {
    requests: Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1]),
    p50: milliseconds(/50%\s+(\S+)/.exec(stdout.slice(stdout.indexOf('Latency Distribution')))?.[1]),
    p99: milliseconds(/99%\s+(\S+)/.exec(stdout)?.[1]),
    cpuUs: (cpu * 1_000_000) / total,
  };
}

function milliseconds(text = ''): number {
  const value = Number.parseFloat(text);
  return text.endsWith('us') ? value / 1_000 : text.endsWith('ms') ? value : value * 1_000;
}
