import type { Readable } from 'node:stream';
import { WrennError } from '@wrenn/core';
import type { Dispatcher } from 'undici';
import { hostUnreachable } from '../agents/agent-error.ts';
import type { ByteStream } from '../http/byte-stream.ts';
import type { Guest } from './guest.ts';
import { fromGuestResponse } from './guest-error.ts';

/** A file in a guest, as envd's `/files` takes it: relative paths and `~` are the user's. */
export interface FileTarget {
  readonly path: string;
  readonly user: string | null;
}

export interface WrittenFile {
  readonly path: string;
  readonly name: string;
  readonly bytes: number;
}

export interface FileRead {
  readonly status: number;
  /** Null where envd does not know it, as for files of /proc. */
  readonly length: number | null;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: AsyncIterable<Uint8Array>;
}

/** An error answer of envd is short; more of it is not read. */
const MAX_ERROR_BYTES = 16_384;

/** Streams bytes into a file, as fast as the slower side; `length` lets the guest see a full disk before it writes. */
export async function writeFile(
  guest: Guest,
  target: FileTarget,
  bytes: ByteStream,
  length: number | null,
  signal: AbortSignal,
): Promise<WrittenFile> {
  const counted = new Counted(bytes);
  const response = await request(guest, 'POST', target, signal, {
    headers: {
      'content-type': 'application/octet-stream',
      ...(length !== null && { 'content-length': String(length) }),
    },
    body: counted,
  });
  const text = await readText(response.body);
  if (response.statusCode !== 200) throw failure(response.statusCode, response.headers, text);
  const [written] = JSON.parse(text) as { path: string; name: string }[];
  if (!written) throw new WrennError('guest_error', 'The guest did not say what it wrote.');
  return { path: written.path, name: written.name, bytes: counted.total };
}

/** Opens a file for reading; `range` is a Range header. Leaving `body` early closes the stream. */
export async function readFile(
  guest: Guest,
  target: FileTarget,
  range: string | undefined,
  signal: AbortSignal,
): Promise<FileRead> {
  const response = await request(guest, 'GET', target, signal, {
    headers: { 'accept-encoding': 'identity', ...(range !== undefined && { range }) },
  });
  const { statusCode, headers, body } = response;
  if (statusCode !== 200 && statusCode !== 206) throw failure(statusCode, headers, await readText(body));
  const length = Number(text(headers['content-length']) ?? Number.NaN);
  return {
    status: statusCode,
    length: Number.isSafeInteger(length) ? length : null,
    headers: pick(headers, ['content-range', 'content-disposition', 'last-modified', 'accept-ranges']),
    body,
  };
}

async function request(
  { agent, address }: Guest,
  method: 'GET' | 'POST',
  { path, user }: FileTarget,
  signal: AbortSignal,
  { headers, body }: { headers: Record<string, string>; body?: AsyncIterable<Uint8Array> },
) {
  const query = new URLSearchParams({ path, ...(user !== null && { username: user }) });
  try {
    return await agent.bytes.request({
      method,
      path: agent.guestPath(address, `/files?${query}`),
      headers: { ...headers, ...agent.guestHeaders(address) },
      body: (body ?? null) as Readable | null, // undici takes any async iterable
      signal,
    });
  } catch (error) {
    if (error instanceof WrennError) throw error; // of the client's own stream
    signal.throwIfAborted();
    throw hostUnreachable('The connection to the host broke.', error);
  }
}

function failure(status: number, headers: Dispatcher.ResponseData['headers'], body: string): WrennError {
  return fromGuestResponse(status, text(headers['wrenn-error-code']), body);
}

async function readText(body: Readable): Promise<string> {
  let read = '';
  for await (const chunk of body) {
    read += String(chunk);
    if (read.length > MAX_ERROR_BYTES) break;
  }
  return read;
}

const text = (header: string | string[] | undefined): string | undefined =>
  typeof header === 'string' ? header : header?.[0];

function pick(headers: Dispatcher.ResponseData['headers'], names: readonly string[]): Record<string, string> {
  const picked: Record<string, string> = {};
  for (const name of names) {
    const value = text(headers[name]);
    if (value !== undefined) picked[name] = value;
  }
  return picked;
}

class Counted implements AsyncIterable<Uint8Array> {
  total = 0;
  readonly #source: AsyncIterable<Uint8Array>;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for await (const chunk of this.#source) {
      this.total += chunk.length;
      yield chunk;
    }
  }
}
