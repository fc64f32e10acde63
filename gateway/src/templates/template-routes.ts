import { type Routes, route } from '../http/route.ts';
import { page } from '../http/schemas.ts';
import { listTemplates, templateObject, templateQuery } from './template-list.ts';

/** API4: what a sandbox can start from. */
export const templateRoutes: Routes = [
  route({
    method: 'GET',
    path: '/v1/templates',
    auth: ['K', 'J'],
    tag: 'Templates',
    summary: "The team's and the platform's templates",
    query: templateQuery,
    responses: { 200: { description: 'A page, by name', schema: page(templateObject) } },
    handler: async ({ auth, query }, { sql }) => ({ status: 200, body: await listTemplates(sql, auth.teamId, query) }),
  }),
];
