import { stringify } from 'yaml';
import type { z } from 'zod';
import { createDocument, type ZodOpenApiOperationObject, type ZodOpenApiPathsObject } from 'zod-openapi';
import type { AuthKind } from '../http/auth.ts';
import type { Route, Routes, SocketRoute } from '../http/route.ts';
import { errorBody } from '../http/schemas.ts';

const INFO = {
  title: 'Wrenn',
  version: '1',
  description:
    'Sandboxes in microVMs. Unknown fields in a body are 400. Lists are cursor-paginated. Times are RFC 3339, UTC.',
  license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
};

const SECURITY_SCHEMES = {
  K: { type: 'apiKey', in: 'header', name: 'X-API-Key', description: 'A key of a team (`wrn_…`)' },
  J: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'A signed-in person' },
  H: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'A registered host' },
} as const;

type Document = ReturnType<typeof createDocument>;

/** OpenAPI 3.1 from the schemas that validate requests. */
export function openApiDocument(routes: Routes): Document {
  const paths: Record<string, Record<string, ZodOpenApiOperationObject>> = {};
  for (const route of routes) {
    const item = paths[route.path] ?? {};
    paths[route.path] = item;
    item[route.kind === 'socket' ? 'get' : route.method.toLowerCase()] = operation(route);
  }
  return createDocument({
    openapi: '3.1.0',
    info: INFO,
    servers: [{ url: '/' }],
    paths: paths as ZodOpenApiPathsObject,
    components: { securitySchemes: SECURITY_SCHEMES },
  });
}

export function openApiYaml(routes: Routes): string {
  return stringify(openApiDocument(routes), { lineWidth: 120, aliasDuplicateObjects: false });
}

function operation(route: Route | SocketRoute): ZodOpenApiOperationObject {
  const common = {
    operationId: operationId(route),
    tags: [route.tag],
    summary: route.summary,
    description: description(route),
    security: security(route.auth),
    requestParams: {
      ...(route.params && { path: route.params as z.ZodObject }),
      ...(route.query && { query: route.query as z.ZodObject }),
    },
  };
  const errors = { default: { description: 'Error', content: { 'application/json': { schema: errorBody } } } };
  if (route.kind === 'socket') {
    return { ...common, 'x-websocket': true, responses: { '101': { description: 'WebSocket' }, ...errors } };
  }
  const body = requestBody(route);
  return { ...common, ...(body && { requestBody: body }), responses: { ...successes(route), ...errors } };
}

function successes(route: Route): ZodOpenApiOperationObject['responses'] {
  return Object.fromEntries(
    Object.entries(route.responses).map(([status, { description, schema, contentType }]) => [
      status,
      {
        description,
        ...(schema && { content: { [contentType ?? 'application/json']: { schema } } }),
        ...(!schema && contentType && { content: { [contentType]: { schema: BINARY } } }),
      },
    ]),
  ) as ZodOpenApiOperationObject['responses'];
}

const BINARY = { type: 'string', format: 'binary' } as const;

function requestBody(route: Route): ZodOpenApiOperationObject['requestBody'] | undefined {
  if (route.rawBody) {
    const types = route.rawBody.contentTypes.map((type) => (type === '*' ? '*/*' : type));
    const schema = route.rawBody.schema ?? BINARY;
    return { required: true, content: Object.fromEntries(types.map((type) => [type, { schema }])) };
  }
  if (!route.body) return undefined;
  return { required: !route.bodyOptional, content: { 'application/json': { schema: route.body } } };
}

function description(route: Route | SocketRoute): string {
  const admin = route.auth.includes('A') && !route.auth.includes('J') ? 'For platform admins.' : '';
  const socket =
    route.kind === 'socket'
      ? 'A WebSocket. Subprotocol `wrenn.v1`; a browser gives its key or token as a second one, `wrenn.auth.<token>`.'
      : '';
  return [route.description, socket, admin].filter(Boolean).join(' ');
}

/** Alternatives; an empty object means that nothing need be sent. */
function security(kinds: readonly AuthKind[]): Record<string, string[]>[] {
  const names = new Set(kinds.map((kind) => (kind === 'A' ? 'J' : kind)));
  return [...names].map((name) => (name === '-' ? {} : { [name]: [] }));
}

/** `post_v1_sandboxes_id_exec`: stable, and made of what is public anyway. */
function operationId(route: Route | SocketRoute): string {
  const method = route.kind === 'socket' ? 'connect' : route.method.toLowerCase();
  return `${method}_${route.path.replace(/[{}]/g, '').split(/[/.]/).filter(Boolean).join('_').replaceAll('-', '_')}`;
}
