import { WrennError } from '@wrenn/core';
import type { Socket } from '../http/socket.ts';

/** A viewer that takes nothing for so long is sent away: its connection would hold its bytes for nobody. */
export const PATIENCE_MS = 10_000;
/** RFC 6455: try again later. */
const TRY_AGAIN_LATER = 1013;

/**
 * What a viewer is told, in order and one at a time: journals are read no faster than the viewer does, so that what waits
 * for it is at most one page and the socket's own buffer. One that stops reading is closed with the cursor from which it
 * may resume.
 */
export class FeedSocket {
  readonly #socket: Socket;
  #cursor: string;
  #last: Promise<void> = Promise.resolve();

  constructor(socket: Socket, cursor: string) {
    this.#socket = socket;
    this.#cursor = cursor;
  }

  get signal(): AbortSignal {
    return this.#socket.signal;
  }

  /** Resolves when the viewer keeps up. `cursor`: where to resume once the viewer has this. */
  send(frame: object, cursor?: string): Promise<void> {
    const sent = this.#last.then(() => this.#send(frame, cursor));
    this.#last = sent.catch(() => undefined);
    return sent;
  }

  async #send(frame: object, cursor: string | undefined): Promise<void> {
    const timer = setTimeout(() => this.#giveUp(), PATIENCE_MS);
    try {
      const sending = this.#socket.sendJson(frame);
      if (cursor !== undefined) this.#cursor = cursor; // it is in the buffer, which the viewer reads before the end
      await sending;
    } catch (error) {
      throw this.signal.aborted ? new WrennError('canceled', 'The viewer is gone.') : error;
    } finally {
      clearTimeout(timer);
    }
  }

  #giveUp(): void {
    this.#socket.close(TRY_AGAIN_LATER, `slow reader: resume from ${this.#cursor}`);
  }
}
