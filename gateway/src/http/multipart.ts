import type { ByteStream } from './byte-stream.ts';

/** One part of a multipart body. Its bytes must be read (or the part skipped by going on) before the next one comes. */
export interface Part {
  readonly name: string;
  readonly filename: string | undefined;
  readonly contentType: string;
  readonly body: ByteStream;
}

export declare function multipart(stream: ByteStream, contentType: string): AsyncIterable<Part>;
