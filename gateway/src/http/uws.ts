import { createRequire } from 'node:module';

/**
 * Largest header block of a request, bytes. The library's default of 4 KiB is too small for cookies and tokens together,
 * and it reads the variable once, while it is loaded: so it is set here, before the only `require` of the library.
 */
export const MAX_HEADER_BYTES = 16_384;
process.env.UWS_HTTP_MAX_HEADERS_SIZE ??= String(MAX_HEADER_BYTES);

/** uWebSockets.js. It is CommonJS; nothing else loads it. */
export const uws = createRequire(import.meta.url)('uWebSockets.js') as typeof import('uWebSockets.js');
