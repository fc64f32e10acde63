import { z } from 'zod';
import { type Routes, socketRoute } from '../http/route.ts';
import { listedTeam } from './actor-access.ts';
import { actorKind, all } from './actor-params.ts';
import { COLLAPSE_ABOVE, runFeed } from './feed.ts';
import { FEED_CURSOR } from './feed-cursor.ts';

const DESCRIPTION = `Frames are JSON objects with \`type\`.
\`hello {mode, cursor, total}\` first; \`entry {…}\` per journal entry, with the \`cursor\` from which to resume;
above \`collapse_above\` actors instead \`counts {full, items}\`: all rows first, then those that changed (a count of 0 is
gone). \`mode {mode, cursor, total}\` when that changes: load the list anew. A viewer that reads nothing for 10 s is closed
with 1013 and the reason \`slow reader: resume from <cursor>\`.`;

/** WS feed of API11: every entry of the caller's actors, from a cursor on, then live. */
export const feedRoutes: Routes = [
  socketRoute({
    path: '/v1/actors/feed',
    auth: ['K', 'J'],
    tag: 'Inspector',
    summary: 'Journal entries as they are committed, or counts per state where there are too many actors',
    description: DESCRIPTION,
    query: z.strictObject({
      cursor: z.string().regex(FEED_CURSOR, 'must be a cursor of the feed').optional(),
      kind: actorKind.optional(),
      id: z
        .string()
        .max(1_000)
        .optional()
        .meta({ description: 'Actors, joined by commas; of a sandbox its vms too. Never collapses' }),
      brief: z.stringbool().default(false).meta({ description: 'Entries without `diff` and the fields of `event`' }),
      collapse_above: z.coerce.number().int().min(1).max(COLLAPSE_ABOVE).default(COLLAPSE_ABOVE),
      all,
    }),
    handler: async ({ auth, query }, services) => {
      const { cursor, kind, id, brief, collapse_above: collapseAbove } = query;
      const filter = { teamId: listedTeam(auth, query.all), kind: kind ?? null, ids: id?.split(',') ?? null };
      const options = { ...filter, cursor: cursor ?? null, brief, collapseAbove };
      return (socket) => services.viewers.during(() => runFeed(services, socket, options));
    },
  }),
];
