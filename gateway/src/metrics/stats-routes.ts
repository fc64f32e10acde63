import { z } from 'zod';
import { type Routes, route } from '../http/route.ts';
import { readTeamStats, teamStats } from './team-stats.ts';

/** What a team has, and had (MET1, API5). */
export const statsRoutes: Routes = [
  route({
    method: 'GET',
    path: '/v1/sandboxes/stats',
    auth: ['K', 'J'],
    tag: 'Metrics',
    summary: 'Running sandboxes and reserved capacity of the team: now, peaks, over time',
    description:
      'Running sandboxes count in full, paused ones with half of their vCPUs and memory each, rounded up. Buckets of 3, 30, ' +
      '180, 720 and 21600 s; each has the maximum of its samples, taken every 10 s.',
    query: z.strictObject({ range: z.enum(['5m', '1h', '6h', '24h', '30d']).default('1h') }),
    responses: { 200: { description: 'Oldest bucket first', schema: teamStats } },
    handler: async ({ auth, query: { range } }, { sql }) => ({
      status: 200,
      body: await readTeamStats(sql, auth.teamId, range),
    }),
  }),
];
