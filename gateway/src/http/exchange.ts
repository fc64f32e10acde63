import type { HttpRequest, HttpResponse } from 'uWebSockets.js';
import { RequestBody } from './request-body.ts';
import { type RequestHead, readHead } from './request-head.ts';
import { Response } from './response.ts';

/**
 * One request and its answer, detached from the library's rules: it must be made in the tick in which the request
 * arrives, and can be used after any await.
 */
export class Exchange {
  readonly head: RequestHead;
  readonly body: RequestBody;
  readonly response: Response;
  readonly #abort = new AbortController();

  constructor(res: HttpResponse, req: HttpRequest, paramCount: number) {
    this.head = readHead(res, req, paramCount);
    this.response = new Response(res, this.head.requestId, this.head.method === 'HEAD');
    res.onAborted(() => {
      this.response.abort();
      this.body.abort();
      this.#abort.abort(new DOMException('The client closed the connection.', 'AbortError'));
    });
    this.body = new RequestBody(res);
  }

  /** Aborted when the client goes away or the server stops. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** The server stops: whoever works for this request should end. */
  stop(reason: Error): void {
    this.#abort.abort(reason);
  }
}
