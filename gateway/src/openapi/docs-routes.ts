import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, extname, join } from 'node:path';
import { z } from 'zod';
import { notFound } from '../http/problems.ts';
import { type Route, type Routes, route } from '../http/route.ts';
import { openApiDocument, openApiYaml } from './document.ts';

const tag = 'Meta';

/** Served from the package that npm installed: the page asks nobody else for anything. */
const ASSETS = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));
const MEDIA_TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.png': 'image/png',
};
/** All that the page needs of the package. */
const FILES = ['swagger-ui.css', 'swagger-ui-bundle.js', 'favicon-32x32.png'] as const;

const PAGE_HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  // The styles are the package's own, set from its script.
  'content-security-policy': "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:",
};

const DOCS_PAGE = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Wrenn API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" href="/docs/favicon-32x32.png">
<div id="ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</html>
`;
const START_SCRIPT = `SwaggerUIBundle({ url: '/openapi.json', dom_id: '#ui', deepLinking: true });\n`;

/** The document of all other routes, and pages to read it in. */
export function docsRoutes(documented: Routes): Routes {
  return [
    file('/openapi.json', 'This API as JSON', { 'content-type': 'application/json; charset=utf-8' }, () =>
      JSON.stringify(openApiDocument(documented)),
    ),
    file('/openapi.yaml', 'This API as YAML', { 'content-type': 'application/yaml; charset=utf-8' }, () =>
      openApiYaml(documented),
    ),
    file('/docs', 'Swagger UI', PAGE_HEADERS, () => DOCS_PAGE),
    file(
      '/docs/start.js',
      'Starts Swagger UI',
      { 'content-type': 'text/javascript; charset=utf-8' },
      () => START_SCRIPT,
    ),
    route({
      method: 'GET',
      path: '/docs/{file}',
      auth: ['-'],
      tag,
      summary: 'Files of Swagger UI',
      params: z.strictObject({ file: z.string() }),
      responses: { 200: { description: 'The file', contentType: '*/*' } },
      handler: async ({ params }) => {
        const name = FILES.find((known) => known === params.file);
        if (!name) throw notFound();
        const type = MEDIA_TYPES[extname(name)] ?? 'application/octet-stream';
        const headers = { 'content-type': type, 'cache-control': 'public, max-age=3600' };
        return { status: 200, headers, bytes: await readFile(join(ASSETS, name)) };
      },
    }),
  ];
}

/** A text that does not change while the program runs: made at the first request. */
function file(path: string, summary: string, headers: Record<string, string>, make: () => string): Route {
  let text: string | undefined;
  return route({
    method: 'GET',
    path,
    auth: ['-'],
    tag,
    summary,
    responses: { 200: { description: summary, contentType: headers['content-type'] ?? 'text/plain' } },
    handler: async () => {
      text ??= make();
      return { status: 200, headers, bytes: text };
    },
  });
}
