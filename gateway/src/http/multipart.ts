import type { Readable } from 'node:stream';
import { Busboy } from '@fastify/busboy';
import { WrennError } from '@wrenn/core';
import type { ByteStream } from './byte-stream.ts';
import { badRequest } from './problems.ts';

/** One part of a multipart body. Its bytes must be read (or the part skipped by going on) before the next one comes. */
export interface Part {
  readonly name: string;
  readonly filename: string | undefined;
  readonly contentType: string;
  readonly body: ByteStream;
}

/** A hostile body of a million empty parts ends here. */
const MAX_PARTS = 1_000;

/**
 * The parts of a `multipart/form-data` body as they arrive. Nothing is buffered: a part that is read slowly slows the
 * client down. A malformed or cut-off body is 400.
 */
export async function* multipart(stream: ByteStream, contentType: string): AsyncIterable<Part> {
  const parser = makeParser(contentType);
  const parts: Readable[] = [];
  const heads = new WeakMap<Readable, Omit<Part, 'body'>>();
  let open: Readable | undefined;
  let failure: Error | undefined;
  let finished = false;
  let wake: (() => void) | undefined;
  const signal = () => wake?.();
  parser.on('file', (name, file, filename, _encoding, type) => {
    heads.set(file, { name, filename, contentType: type });
    file.on('error', () => undefined); // also when nobody reads it
    parts.push(file);
    open = file;
    signal();
  });
  const fail = (error: Error) => {
    failure ??= error;
    open?.destroy(failure); // whoever waits for the rest of a part hears why there is none
    signal();
  };
  parser.on('error', (error) => fail(badRequest(`Malformed multipart body: ${String(error)}`)));
  parser.on('partsLimit', () => fail(badRequest(`More than ${MAX_PARTS} parts.`)));
  parser.on('finish', () => {
    finished = true;
    signal();
  });
  const pump = feed(stream, parser).catch(fail);
  try {
    for (;;) {
      const part = parts.shift();
      if (part) {
        const head = heads.get(part) as Omit<Part, 'body'>;
        yield { ...head, body: readPart(part) };
        part.resume(); // what the caller did not read is skipped
      } else if (failure) {
        throw failure;
      } else if (finished) {
        return;
      } else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  } finally {
    parser.destroy();
    void pump;
  }
}

async function* readPart(part: Readable): ByteStream {
  try {
    yield* part.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
  } catch (error) {
    throw error instanceof WrennError ? error : badRequest(`Malformed multipart body: ${(error as Error).message}`);
  }
}

function makeParser(contentType: string): InstanceType<typeof Busboy> {
  try {
    return new Busboy({
      headers: { 'content-type': contentType },
      isPartAFile: () => true, // fields too: one way of reading, no buffering of any of them
      preservePath: true,
      limits: { parts: MAX_PARTS },
    });
  } catch (cause) {
    throw badRequest(`Not a multipart body: ${(cause as Error).message}`);
  }
}

async function feed(stream: ByteStream, parser: InstanceType<typeof Busboy>): Promise<void> {
  for await (const chunk of stream) {
    if (parser.destroyed) return;
    await new Promise<void>((resolve, reject) => {
      parser.write(chunk, (error) => (error ? reject(error) : resolve()));
    });
  }
  parser.end();
}
