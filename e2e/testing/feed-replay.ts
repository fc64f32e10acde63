import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { machineAsData, sandboxDefinition } from '@wrenn/actors';
import { type WebSocket, WebSocketServer } from 'ws';
import { CONSOLE_DIST, ConsoleFiles } from '../../gateway/src/console/console-files.ts';

/** One entry of a capsule's life, recorded from a real one (booted, paused when idle, resumed, destroyed). */
interface Recorded {
  readonly outcome: string;
  readonly event: { readonly type: string };
  readonly cause: object;
  readonly from: unknown;
  readonly to: unknown;
  readonly path: string;
}
const LIFE = JSON.parse(readFileSync(new URL('./recorded-life.json', import.meta.url), 'utf8')) as Recorded[];
/** Where a life goes on when it has reached its end: at its first rest, so that nobody leaves the fleet. */
const FIRST_REST = LIFE.findIndex(({ path }) => path.startsWith('running'));
const LAST = LIFE.findIndex(({ to }) => to === 'stopped') - 2;

/** Frames leave in bursts, as a group commit writes them. */
const BURST_MS = 20;
const PAGE = 200;

export interface FeedReplay {
  readonly url: string;
  /** How many frames were sent so far. */
  readonly sent: () => number;
  /** Sends `perSecond` entries to whoever listens, for `seconds`; resolves when they are sent. */
  play(perSecond: number, seconds: number): Promise<void>;
  /** Says how many are in which state, as a feed of more than 10,000 actors does. */
  count(items: readonly object[], full: boolean): void;
  close(): Promise<void>;
}

/**
 * A recorded feed of many actors, played to the real console: the one recorded life, begun by each actor at another point.
 * It answers what the fleet's page asks for, and nothing else.
 */
export async function replayFeed(actors: number, mode: 'entries' | 'counts' = 'entries'): Promise<FeedReplay> {
  const began = Date.now();
  const at = Array.from({ length: actors }, (_, index) => FIRST_REST + (index % (LAST - FIRST_REST)));
  const seqs = Array.from({ length: actors }, () => 100);
  const idOf = (index: number) => `sb${String(index).padStart(20, '0')}`;
  const files = new ConsoleFiles(CONSOLE_DIST);
  const machine = machineAsData(sandboxDefinition);
  const viewers = new Set<WebSocket>();
  let sent = 0;
  /** The last full count: who comes later is told it too. */
  let counted = '';

  const lifeOf = (index: number) => LIFE[at[index] ?? 0] as Recorded;
  const summary = (index: number) => ({
    kind: 'sandbox',
    id: idOf(index),
    state: lifeOf(index).to,
    path: lifeOf(index).path,
    tags: [],
    seq: seqs[index],
    machine_version: machine.version,
    created_at: new Date(began - 60_000).toISOString(),
    since: new Date(began - index * 10).toISOString(),
    updated_at: new Date(began).toISOString(),
    done: false,
  });

  const answers: Record<string, (query: URLSearchParams) => unknown> = {
    '/v1/machines': () => ({ items: [{ kind: 'sandbox', version: machine.version }] }),
    [`/v1/machines/sandbox/${machine.version}`]: () => machine,
    '/v1/actors': (query) => {
      if (query.get('stuck') === 'true') return { items: [], next_cursor: null };
      const first = Number(query.get('cursor') ?? 0);
      const last = Math.min(actors, first + PAGE);
      const items = Array.from({ length: last - first }, (_, index) => summary(first + index));
      return { items, next_cursor: last < actors ? String(last) : null };
    },
  };

  const server: Server = createServer(async (request, response) => {
    const url = new URL(request.url ?? '/', 'http://localhost');
    const answer = answers[url.pathname];
    if (answer) {
      response.setHeader('content-type', 'application/json').end(JSON.stringify(answer(url.searchParams)));
      return;
    }
    const name = /^\/console\/assets\/(.+)$/.exec(url.pathname)?.[1];
    const file = name ? await files.asset(name) : url.pathname.startsWith('/dashboard/') ? await files.page() : null;
    if (!file) response.writeHead(404).end();
    else response.setHeader('content-type', file.type).end(file.plain);
  });
  const sockets = new WebSocketServer({ server, path: '/v1/actors/feed', handleProtocols: () => 'wrenn.v1' });
  sockets.on('connection', (socket) => {
    viewers.add(socket);
    socket.on('close', () => viewers.delete(socket));
    socket.send(JSON.stringify({ type: 'hello', mode, total: actors, cursor: '1.1' }));
    if (counted) socket.send(counted);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));

  /** The next step of one actor, spread over all of them. */
  function step(turn: number): string {
    const index = (turn * 7_919) % actors; // a prime: neighbours in time are not neighbours in the list
    at[index] = (at[index] ?? 0) >= LAST ? FIRST_REST + 1 : (at[index] ?? 0) + 1;
    seqs[index] = (seqs[index] ?? 0) + 1;
    return JSON.stringify({
      type: 'entry',
      cursor: `1.${turn + 2}`,
      kind: 'sandbox',
      id: idOf(index),
      seq: seqs[index],
      at: new Date().toISOString(),
      message_id: `sandbox:${idOf(index)}:${turn}`,
      machine_version: machine.version,
      ...lifeOf(index),
    });
  }

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    sent: () => sent,
    play: (perSecond, seconds) =>
      new Promise((resolve) => {
        const start = performance.now();
        const total = perSecond * seconds;
        let played = 0;
        const timer = setInterval(() => {
          const due = Math.min(total, Math.floor(((performance.now() - start) / 1_000) * perSecond));
          for (; played < due; played++) {
            const frame = step(sent++);
            for (const viewer of viewers) viewer.send(frame);
          }
          if (played < total) return;
          clearInterval(timer);
          resolve();
        }, BURST_MS);
      }),
    count: (items, full) => {
      const frame = JSON.stringify({ type: 'counts', full, at: new Date().toISOString(), items });
      if (full) counted = frame;
      for (const viewer of viewers) viewer.send(frame);
    },
    close: async () => {
      for (const viewer of viewers) viewer.terminate();
      sockets.close();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
