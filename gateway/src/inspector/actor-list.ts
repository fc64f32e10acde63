import type { ActorView } from '@wrenn/core';
import { decodeCursor, encodeCursor } from '../http/page-cursor.ts';
import type { Services } from '../services.ts';
import { listMirrors } from './vm-mirrors.ts';

export interface ActorFilter {
  readonly teamId: string | null;
  readonly kind: string | null;
  readonly state: string | null;
  readonly labels: Readonly<Record<string, string>> | null;
  readonly stuck: boolean;
  readonly cursor: string | undefined;
  readonly limit: number;
}

/** Actors of this control plane in the order of their addresses, after them the mirrors of hosts' `vm` actors. */
export async function listActors(
  services: Services,
  filter: ActorFilter,
): Promise<{ views: ActorView[]; next_cursor: string | null }> {
  const [source, position] = (decodeCursor(filter.cursor, 2) as [string, string] | null) ?? ['actors', ''];
  const views: ActorView[] = [];
  if (source === 'actors' && filter.kind !== 'vm') {
    const page = await listOwn(services, filter, position);
    views.push(...page.items);
    if (page.cursor !== null) return { views, next_cursor: encodeCursor(['actors', page.cursor]) };
  }
  if (!wantsMirrors(filter)) return { views, next_cursor: null };
  const room = filter.limit - views.length;
  const mirrors = await listMirrors(services.sql, {
    teamId: filter.teamId,
    state: filter.state,
    after: source === 'vm' ? position : '',
    limit: room + 1,
  });
  const shown = mirrors.slice(0, room);
  views.push(...shown);
  const last = shown.at(-1)?.id ?? (source === 'vm' ? position : '');
  return { views, next_cursor: mirrors.length > room ? encodeCursor(['vm', last]) : null };
}

/** Labels are of sandboxes, and only actors that decide for themselves can be stuck. */
function wantsMirrors({ kind, labels, stuck }: ActorFilter): boolean {
  return (kind === null || kind === 'vm') && labels === null && !stuck;
}

function listOwn({ runtime }: Services, filter: ActorFilter, cursor: string) {
  const { teamId, kind, state, labels, stuck, limit } = filter;
  return runtime.list({
    ...(teamId !== null && { teamId }),
    ...(kind !== null && { kind }),
    ...(state !== null && { path: state }),
    ...(labels !== null && { context: { spec: { labels } } }),
    ...(cursor !== '' && { cursor }),
    stuck,
    limit,
  });
}
