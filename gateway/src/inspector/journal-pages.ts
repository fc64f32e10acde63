import type { JournalEntry } from '@wrenn/core';
import type { Services } from '../services.ts';
import type { SeenActor } from './actor-access.ts';
import { mirrorJournal } from './vm-mirrors.ts';

/** One page of an actor's journal, wherever it is kept. */
export function journalPage(
  { runtime, sql }: Services,
  { view, mirrorOf }: SeenActor,
  afterSeq: number,
  limit: number,
): Promise<JournalEntry[]> {
  if (mirrorOf !== null) return mirrorJournal(sql, view.id, afterSeq, limit);
  return runtime.journal({ kind: view.kind, id: view.id }, { afterSeq, limit });
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
