import { z } from 'zod';
import { notFound } from '../http/problems.ts';
import { type BytesReply, type Route, type Routes, route } from '../http/route.ts';
import { CONSOLE_DIST, type ConsoleFile, ConsoleFiles } from './console-files.ts';

const tag = 'Console';

/** `/` leads here (CON1). */
const HOME = '/dashboard/capsules/list';
/** What the page itself routes; everything else at the root belongs to the API. */
const PAGES = [
  '/login',
  '/signup',
  '/dashboard',
  '/dashboard/{a}',
  '/dashboard/{a}/{b}',
  '/dashboard/{a}/{b}/{c}',
  '/admin',
  '/admin/{a}',
  '/admin/{a}/{b}',
];

/**
 * Scripts and connections to here only, and nobody frames it. Styles may stand in the page: the terminal writes its
 * colours so. `data:` images are the cursor's and the charts'.
 */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "font-src 'self'",
  "connect-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** The page names its files by their digests: it must be fresh, they never change. */
const FRESH = 'no-cache';
const FOR_EVER = 'public, max-age=31536000, immutable';
const AN_HOUR = 'public, max-age=3600';

const NOT_BUILT = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Wrenn</title>
<h1>Wrenn</h1>
<p>This control plane is running, but its console was not built: run <code>make build</code>.</p>
<p>The API is there: <a href="/docs">documentation</a>, <a href="/openapi.yaml">OpenAPI document</a>.</p>
</html>
`;

/** The console: one page and its files, from this machine and no other. */
export function consoleRoutes(dist = CONSOLE_DIST): Routes {
  const files = new ConsoleFiles(dist);

  const page = (path: string): Route =>
    route({
      method: 'GET',
      path,
      auth: ['-'],
      tag,
      summary: 'The console',
      ...(path.includes('{') && { params: z.record(z.string(), z.string()) }),
      responses: { 200: { description: 'The page', contentType: 'text/html' } },
      handler: async ({ headers }) => {
        const file = await files.page();
        const head = { 'content-security-policy': POLICY, 'x-frame-options': 'DENY' };
        if (file) return reply(file, headers, FRESH, head);
        return { status: 200, headers: { 'content-type': 'text/html; charset=utf-8', ...head }, bytes: NOT_BUILT };
      },
    });

  const serve = (path: string, cache: string, find: (name: string) => Promise<ConsoleFile | null>): Route =>
    route({
      method: 'GET',
      path,
      auth: ['-'],
      tag,
      summary: 'A file of the console',
      params: z.strictObject({ file: z.string() }),
      responses: { 200: { description: 'The file', contentType: '*/*' } },
      handler: async ({ params, headers }) => {
        const file = await find(params.file);
        if (!file) throw notFound();
        return reply(file, headers, cache, {});
      },
    });

  return [
    route({
      method: 'GET',
      path: '/',
      auth: ['-'],
      tag,
      summary: 'Leads to the console',
      responses: { 302: { description: 'To the list of capsules' } },
      handler: async () => ({ status: 302, headers: { location: HOME } }),
    }),
    ...PAGES.map(page),
    serve('/console/assets/{file}', FOR_EVER, (name) => files.asset(name)),
    serve('/console/{file}', AN_HOUR, (name) => files.extra(name)),
  ];
}

function reply(
  { type, plain, gzipped }: ConsoleFile,
  headers: ReadonlyMap<string, string>,
  cache: string,
  more: Readonly<Record<string, string>>,
): BytesReply {
  const packed = /\bgzip\b/.test(headers.get('accept-encoding') ?? '');
  return {
    status: 200,
    headers: {
      'content-type': type,
      'cache-control': cache,
      vary: 'accept-encoding',
      'referrer-policy': 'no-referrer',
      ...more,
      ...(packed && { 'content-encoding': 'gzip' }),
    },
    bytes: packed ? gzipped : plain,
  };
}
