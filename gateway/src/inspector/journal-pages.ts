import type { JournalEntry } from '@wrenn/core';
import type { Services } from '../services.ts';
import type { SeenActor } from './actor-access.ts';
import { mirrorJournal } from './vm-mirrors.ts';

/** One page of an actor's journal, oldest first, wherever it is kept. */
export function journalPage(
  { runtime, sql }: Services,
  { view, mirrorOf }: SeenActor,
  afterSeq: number,
  limit: number,
): Promise<JournalEntry[]> {
  if (mirrorOf !== null) return mirrorJournal(sql, view.id, afterSeq, limit);
  return runtime.journal({ kind: view.kind, id: view.id }, { afterSeq, limit });
}

/** The last entries before `beforeSeq`, newest first. Numbers have no holes. */
export async function journalPageBefore(
  services: Services,
  actor: SeenActor,
  beforeSeq: number,
  limit: number,
): Promise<JournalEntry[]> {
  const last = Math.min(beforeSeq - 1, actor.view.seq);
  const after = Math.max(0, last - limit);
  if (last <= after) return [];
  const entries = await journalPage(services, actor, after, last - after);
  return entries.filter(({ seq }) => seq <= last).reverse();
}

const EXPORT_PAGE = 500;

/** The whole journal, page by page. */
export async function* wholeJournal(services: Services, actor: SeenActor): AsyncGenerator<JournalEntry> {
  let afterSeq = 0;
  for (;;) {
    const entries = await journalPage(services, actor, afterSeq, EXPORT_PAGE);
    yield* entries;
    const last = entries.at(-1);
    if (!last || entries.length < EXPORT_PAGE) return;
    afterSeq = last.seq;
  }
}
