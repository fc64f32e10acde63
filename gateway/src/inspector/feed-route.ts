import type { JournalEntry } from '@wrenn/core';
import { z } from 'zod';
import type { KeyAuth, UserAuth } from '../http/auth.ts';
import { type Routes, socketRoute } from '../http/route.ts';
import type { Socket } from '../http/socket.ts';
import type { Services } from '../services.ts';
import { listedTeam } from './actor-access.ts';
import { entryJson } from './actor-json.ts';

interface FeedFilter {
  readonly teamId: string | null;
  readonly kind: string | undefined;
  readonly id: string | undefined;
}

/** WS feed of API11: every entry of the caller's actors, from a cursor on, then live. */
export const feedRoutes: Routes = [
  socketRoute({
    path: '/v1/actors/feed',
    auth: ['K', 'J'],
    tag: 'Inspector',
    summary: 'Journal entries as they are committed; each has its cursor',
    description: "Entries of hosts' vm actors come live only, without a cursor; their journals have them all.",
    query: z.strictObject({
      cursor: z
        .string()
        .regex(/^\d{1,20}\.\d{1,19}$/, 'must be the cursor of an entry')
        .optional(),
      kind: z.enum(['sandbox', 'host', 'vm']).optional(),
      id: z.string().max(100).optional(),
      all: z.stringbool().default(false),
    }),
    handler: async ({ auth, query }: { auth: KeyAuth | UserAuth; query: FeedQuery }, services) => {
      const filter = { teamId: listedTeam(auth, query.all), kind: query.kind, id: query.id };
      return (socket) => follow(services, socket, query.cursor ?? null, filter);
    },
  }),
];

interface FeedQuery {
  readonly cursor?: string | undefined;
  readonly kind?: string | undefined;
  readonly id?: string | undefined;
  readonly all: boolean;
}

async function follow(services: Services, socket: Socket, cursor: string | null, filter: FeedFilter): Promise<void> {
  const unsubscribe = services.vmFeed.subscribe((entry) => {
    if (wanted(entry, filter)) socket.sendJson(shown(entry)).catch(() => undefined);
  });
  try {
    for await (const entry of services.runtime.feed(cursor, socket.signal)) {
      if (wanted(entry, filter)) await socket.sendJson(shown(entry));
    }
  } catch (error) {
    if (!socket.signal.aborted) throw error;
  } finally {
    unsubscribe();
  }
}

/** A vm is found by the id of its sandbox too. */
function wanted(entry: JournalEntry, { teamId, kind, id }: FeedFilter): boolean {
  if (teamId !== null && entry.teamId !== teamId) return false;
  if (kind !== undefined && entry.kind !== kind) return false;
  return id === undefined || entry.id === id || (entry.kind === 'vm' && entry.id.startsWith(`${id}.`));
}

function shown(entry: JournalEntry) {
  const { cursor, ...rest } = entryJson(entry);
  return entry.kind === 'vm' ? rest : { cursor, ...rest };
}
