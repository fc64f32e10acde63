import type { Logger } from '@wrenn/core';
import type { z } from 'zod';
import type { Services } from '../services.ts';
import type { AuthFor, AuthKind } from './auth.ts';
import type { ByteStream } from './byte-stream.ts';
import type { Socket } from './socket.ts';

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** An object schema; make it strict (`z.strictObject`), so that unknown fields are 400. */
export type Schema = z.ZodType;

/** A body that is passed on as bytes, never buffered whole. */
export interface RawBodySpec {
  /** Accepted media types without parameters; `*` accepts all, an absent header too. Others are 415. */
  readonly contentTypes: readonly string[];
  /** Bytes; beyond it 413. `null`: no limit. */
  readonly maxBytes: number | null;
  /** For the OpenAPI document: fields of a multipart body. Default: bytes. */
  readonly schema?: Schema;
}

export interface ResponseSpec {
  readonly description: string;
  /** JSON body. None: no body (204). */
  readonly schema?: Schema;
  /** Media type of a body that is not JSON. */
  readonly contentType?: string;
}

/** What every handler is given. It may be used after any await: nothing in it belongs to the socket. */
export interface RequestContext<Params, Query, Body, Kinds extends readonly AuthKind[]> {
  readonly params: Params;
  readonly query: Query;
  /** The validated JSON body; undefined where the route has none. */
  readonly body: Body;
  /** The bytes of a route with `rawBody`; empty else. Reading it slowly slows the client down. */
  readonly stream: ByteStream;
  readonly auth: AuthFor<Kinds>;
  /** Aborted when the client is gone or the server stops. */
  readonly signal: AbortSignal;
  /** Header names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly requestId: string;
  /** The peer's address as text. */
  readonly remoteAddress: string;
}

interface ReplyHead {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
}
/** JSON, or no body at all when `body` is absent. */
export interface JsonReply extends ReplyHead {
  readonly body?: unknown;
}
/** A small body of another type (give `content-type`). */
export interface BytesReply extends ReplyHead {
  readonly bytes: string | Uint8Array;
}
/** A long one: pulled as fast as the client reads. It is closed (`return()`) when the client goes. */
export interface StreamReply extends ReplyHead {
  readonly stream: AsyncIterable<Uint8Array>;
  /** Bytes, when known: sent as `content-length` instead of chunked coding. */
  readonly length?: number;
}
export type Reply = JsonReply | BytesReply | StreamReply;

type Output<S extends Schema | undefined> = S extends Schema ? z.output<S> : undefined;

interface CommonSpec<Kinds extends readonly AuthKind[], P extends Schema | undefined, Q extends Schema | undefined> {
  /** With `{name}` for parameters: `/v1/sandboxes/{id}`. */
  readonly path: string;
  /** Who may call; `['-']` for everybody. */
  readonly auth: Kinds;
  readonly params?: P;
  /** Values are strings, repeated ones arrays of strings: use `z.coerce` or the helpers of `query.ts`. */
  readonly query?: Q;
  readonly tag: string;
  /** In which form failures are told; default: that of our own API. */
  readonly errors?: (error: unknown, log: Logger) => JsonReply;
  readonly summary: string;
  readonly description?: string;
}

export interface RouteSpec<
  Kinds extends readonly AuthKind[],
  P extends Schema | undefined,
  Q extends Schema | undefined,
  B extends Schema | undefined,
> extends CommonSpec<Kinds, P, Q> {
  readonly method: Method;
  /** JSON body, at most 1 MiB. */
  readonly body?: B;
  /** Where true, an absent body is the same as `{}`. */
  readonly bodyOptional?: boolean;
  readonly rawBody?: RawBodySpec;
  /** Successful answers by status; the error answers are added to the document by themselves. */
  readonly responses: Readonly<Record<number, ResponseSpec>>;
  readonly handler: (
    context: RequestContext<Output<P>, Output<Q>, Output<B>, Kinds>,
    services: Services,
  ) => Promise<Reply>;
}

/**
 * Called before the upgrade: what it throws is an ordinary HTTP error. It returns what to do with the open socket;
 * when that ends the socket is closed (1000), when it throws with 1011 (or the error's own code).
 */
export interface SocketSpec<
  Kinds extends readonly AuthKind[],
  P extends Schema | undefined,
  Q extends Schema | undefined,
> extends CommonSpec<Kinds, P, Q> {
  readonly handler: (
    context: RequestContext<Output<P>, Output<Q>, undefined, Kinds>,
    services: Services,
  ) => Promise<(socket: Socket) => Promise<void>>;
}

// biome-ignore lint/suspicious/noExplicitAny: the only place where a route's own types are given up, so that routes of all shapes fit one list
type Erased = any;
export type Route = { readonly kind: 'http' } & RouteSpec<readonly AuthKind[], Schema, Schema, Schema> & {
    readonly handler: (context: Erased, services: Services) => Promise<Reply>;
  };
export type SocketRoute = { readonly kind: 'socket' } & SocketSpec<readonly AuthKind[], Schema, Schema> & {
    readonly handler: (context: Erased, services: Services) => Promise<(socket: Socket) => Promise<void>>;
  };
/** What a route module exports: a plain list. Data only, so that the OpenAPI document is made without a server. */
export type Routes = readonly (Route | SocketRoute)[];

/** Declares one REST route; its schemas validate requests and make the OpenAPI document. */
export function route<
  const Kinds extends readonly AuthKind[],
  P extends Schema | undefined = undefined,
  Q extends Schema | undefined = undefined,
  B extends Schema | undefined = undefined,
>(spec: RouteSpec<Kinds, P, Q, B>): Route {
  return { kind: 'http', ...spec } as unknown as Route;
}

/** Declares one WebSocket route. Authorised, validated and prepared before the upgrade. */
export function socketRoute<
  const Kinds extends readonly AuthKind[],
  P extends Schema | undefined = undefined,
  Q extends Schema | undefined = undefined,
>(spec: SocketSpec<Kinds, P, Q>): SocketRoute {
  return { kind: 'socket', ...spec } as unknown as SocketRoute;
}
