import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createConfig, lintFromString } from '@redocly/openapi-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse } from 'yaml';
import { apiRoutes } from '../src/app.ts';
import { openApiYaml } from '../src/openapi/document.ts';
import { startGateway, type TestGateway } from './gateway.ts';

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway();
});
afterAll(() => gateway.close());

const text = async (path: string) => {
  const response = await fetch(gateway.url + path);
  expect(response.status, path).toBe(200);
  return { type: response.headers.get('content-type'), body: await response.text() };
};

test('the document is OpenAPI 3.1 and without a fault', async () => {
  const config = await createConfig({ extends: ['spec'] });
  const problems = await lintFromString({ source: openApiYaml(apiRoutes), config });
  expect(problems.map(({ message, location }) => `${location[0]?.pointer}: ${message}`)).toEqual([]);
});

test('it is served as YAML and JSON, with every route and who may call it', async () => {
  const yaml = await text('/openapi.yaml');
  const json = await text('/openapi.json');
  expect(yaml.type).toContain('yaml');
  const document = parse(yaml.body);
  expect(JSON.parse(json.body)).toEqual(document);
  expect(document.openapi).toBe('3.1.0');
  for (const { path, kind, ...route } of apiRoutes) {
    const method = kind === 'socket' ? 'get' : (route as { method: string }).method.toLowerCase();
    const operation = document.paths[path]?.[method];
    expect(operation, `${method} ${path}`).toBeDefined();
    expect(operation.security.length).toBeGreaterThan(0);
  }
  expect(document.paths['/v1/api-keys'].post.security).toEqual([{ J: [] }]);
  expect(document.paths['/v1/api-keys'].post.requestBody.content['application/json'].schema).toMatchObject({
    additionalProperties: false,
    required: ['name'],
  });
  const ids = Object.values<Record<string, { operationId: string }>>(document.paths)
    .flatMap((item) => Object.values(item))
    .map(({ operationId }) => operationId);
  expect(new Set(ids).size).toBe(ids.length);
});

test('Swagger UI works from here alone', async () => {
  const page = await text('/docs');
  expect(page.type).toContain('text/html');
  const links = [...page.body.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1] as string);
  expect(links.length).toBeGreaterThan(2);
  for (const link of links) {
    expect(link).toMatch(/^\//);
    expect((await text(link)).body.length).toBeGreaterThan(0);
  }
  expect((await fetch(`${gateway.url}/docs/%2e%2e%2fpackage.json`)).status).toBe(404);
});

test('docs/openapi.yaml is current', async () => {
  const script = join(import.meta.dirname, '../src/openapi/write.ts');
  await promisify(execFile)(process.execPath, [script, '--check']);
});
