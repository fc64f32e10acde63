import { create } from '@bufbuild/protobuf';
import { vmReport } from '@wrenn/actors';
import {
  type WatchSandboxesRequest,
  type WatchSandboxesResponse,
  WatchSandboxesResponseSchema,
} from '@wrenn/proto/hostagent/v1/hostagent_pb';
import type { ServiceContext } from './context.ts';
import { entryReport } from './entry-report.ts';
import { publicEntry } from './public-entry.ts';
import { toReport } from './report.ts';

/** On a silent stream, so that a dead connection is noticed on both sides. */
const HEARTBEAT_MS = 20_000;

/**
 * Every commit of a `vm` actor after the cursor, then the live ones: the journal entry for the inspector, and after it
 * the fact that it stands for. A cursor of another store replays everything that is kept.
 */
export async function* watchSandboxes(
  context: ServiceContext,
  request: WatchSandboxesRequest,
  signal: AbortSignal,
): AsyncGenerator<WatchSandboxesResponse> {
  const { journal } = context;
  const { storeId } = journal;
  const from = request.storeId === '' || request.storeId === storeId ? request.cursor : 0n;
  const end = journal.cursor();
  let caughtUp = from >= end;
  const respond = (cursor: bigint, item: WatchSandboxesResponse['item']) =>
    create(WatchSandboxesResponseSchema, { storeId, cursor, item });
  const heartbeat = () =>
    respond(journal.cursor(), { case: 'heartbeat', value: { $typeName: 'hostagent.v1.Heartbeat', caughtUp } });

  if (caughtUp) yield heartbeat();
  let entries = journal.runtime.feed(`${from}`, signal)[Symbol.asyncIterator]();
  let next = entries.next();
  if (await isExpired(next)) {
    // The journal does not go back so far: what is true now stands for it.
    entries = journal.runtime.feed(null, signal)[Symbol.asyncIterator]();
    next = entries.next();
    for (const view of await journal.list()) {
      yield respond(end, { case: 'report', value: toReport(vmReport(view), { storeId, cursor: end }) });
    }
    caughtUp = true;
    yield heartbeat();
  }
  try {
    while (true) {
      const result = await nextOrTimeout(next, HEARTBEAT_MS);
      if (result === null) {
        yield heartbeat();
        continue;
      }
      if (result.done) return;
      next = entries.next();
      const entry = result.value;
      const cursor = BigInt(entry.cursor);
      yield respond(cursor, { case: 'journalJson', value: JSON.stringify(publicEntry(entry)) });
      const report = await entryReport(journal, entry);
      if (report !== null) yield respond(cursor, { case: 'report', value: report });
      if (!caughtUp && cursor >= end) {
        caughtUp = true;
        yield heartbeat();
      }
    }
  } finally {
    next.catch(() => {}); // ends with the signal
    await entries.return?.();
  }
}

/** Whether the feed refused its cursor. It does so at once; entries that are only to come are not waited for. */
async function isExpired(next: Promise<unknown>): Promise<boolean> {
  const refused = next.then(
    () => false,
    (error) => (error as { code?: string }).code === 'cursor_expired',
  );
  return Promise.race([refused, new Promise<false>((resolve) => setImmediate(resolve, false))]);
}

function nextOrTimeout<Value>(next: Promise<Value>, milliseconds: number): Promise<Value | null> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds, null);
    next.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
