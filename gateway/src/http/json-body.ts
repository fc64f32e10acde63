import { badRequest, payloadTooLarge, unsupportedMediaType } from './problems.ts';
import type { RequestBody } from './request-body.ts';

/** JSON bodies are buffered, so they are small. Files go through `rawBody`. */
export const MAX_JSON_BYTES = 1_048_576;

/** Only such an escape can bring half a surrogate pair into a text whose bytes are valid UTF-8. */
const SURROGATE_ESCAPE = /\\u[dD][89a-fA-F]/;

/** Reads a JSON body whole; `undefined` when there is none. Strings in it are well-formed Unicode. */
export async function readJson(body: RequestBody, headers: ReadonlyMap<string, string>): Promise<unknown> {
  const declared = Number(headers.get('content-length') ?? Number.NaN);
  if (declared > MAX_JSON_BYTES) throw payloadTooLarge(MAX_JSON_BYTES);
  const chunks: Buffer[] = [];
  for await (const chunk of body.read(MAX_JSON_BYTES)) chunks.push(chunk);
  if (chunks.length === 0) return undefined;
  checkMediaType(headers.get('content-type'));
  return parse(decode(Buffer.concat(chunks)));
}

/** The media type of a content-type header, without parameters, in lower case. */
export function mediaType(header: string | undefined): string {
  return (header ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
}

function checkMediaType(header: string | undefined): void {
  if (mediaType(header) !== 'application/json') throw unsupportedMediaType(['application/json']);
  const charset = /;\s*charset\s*=\s*"?([^\s;"]+)/i.exec(header ?? '')?.[1];
  if (charset && charset.toLowerCase() !== 'utf-8') throw unsupportedMediaType(['application/json; charset=utf-8']);
}

function decode(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw badRequest('The body is not valid UTF-8.');
  }
}

function parse(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw badRequest(`The body is not valid JSON: ${(cause as Error).message}`);
  }
  if (SURROGATE_ESCAPE.test(text) && !wellFormed(value)) {
    throw badRequest('The body has half a surrogate pair in a string.');
  }
  return value;
}

function wellFormed(value: unknown): boolean {
  if (typeof value === 'string') return value.isWellFormed();
  if (Array.isArray(value)) return value.every(wellFormed);
  if (value === null || typeof value !== 'object') return true;
  return Object.entries(value).every(([key, item]) => key.isWellFormed() && wellFormed(item));
}
