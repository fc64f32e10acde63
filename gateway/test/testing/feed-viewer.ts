import { once } from 'node:events';
import { WebSocket } from 'ws';

// biome-ignore lint/suspicious/noExplicitAny: frames of all shapes
export type Frame = any;

/** A viewer of a WebSocket that only tells: what it was told, in order. */
export class FeedViewer {
  readonly socket: WebSocket;
  readonly frames: Frame[] = [];
  bytes = 0;
  readonly #closed: Promise<{ code: number; reason: string }>;

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('message', (data: Buffer) => {
      this.bytes += data.length;
      this.frames.push(JSON.parse(data.toString()));
    });
    socket.on('error', () => undefined);
    this.#closed = new Promise((resolve) =>
      socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() })),
    );
  }

  /** Rejects with the HTTP status where the upgrade is refused. */
  static async open(url: string, path: string, headers: Record<string, string>): Promise<FeedViewer> {
    const socket = new WebSocket(`${url.replace('http', 'ws')}${path}`, { headers });
    const viewer = new FeedViewer(socket);
    await once(socket, 'open');
    return viewer;
  }

  get closed(): Promise<{ code: number; reason: string }> {
    return this.#closed;
  }

  get entries(): Frame[] {
    return this.frames.filter(({ type }) => type === 'entry');
  }

  /** Where to go on after the last frame that says so. */
  get cursor(): string {
    return this.frames.findLast(({ cursor }) => cursor !== undefined)?.cursor;
  }

  leave(): void {
    this.socket.terminate();
  }
}
