import { type ActorDefinition, type JournalEntry, type Json, WrennError } from '@wrenn/core';
import { entryJson } from './journal-json.ts';

/**
 * Messages of the Stately inspector's protocol, as `@statelyai/inspect` sends them (github.com/statelyai/inspect,
 * src/types.ts; there XState's own events, made plain). An actor is a session; a vm is a child of its sandbox.
 */

/** The package whose messages these are. */
const PROTOCOL_VERSION = '0.7.2';

interface Base {
  /** The session of the root of its system. */
  readonly rootId: string;
  readonly sessionId: string;
  /** Milliseconds since 1970, as text. */
  readonly createdAt: string;
  readonly id: string;
  readonly _version: string;
}
interface Snapshot {
  readonly status: 'active' | 'done';
  readonly value: Json;
  /** Absent where it is not known. */
  readonly context?: Json;
}
export type StatelyMessage = Base &
  (
    | {
        readonly type: '@xstate.actor';
        readonly name: string;
        readonly parentId?: string;
        /** The machine's config as JSON text. */
        readonly definition: string;
        readonly snapshot: Snapshot;
      }
    | { readonly type: '@xstate.event'; readonly event: { readonly type: string }; readonly sourceId?: string }
    | { readonly type: '@xstate.snapshot'; readonly event: { readonly type: string }; readonly snapshot: Snapshot }
  );

export interface StatelyActor {
  readonly kind: string;
  readonly id: string;
  readonly at: number;
  readonly seq: number;
  readonly snapshot: Snapshot;
}

export function actorMessage({ kind, id, at, seq, snapshot }: StatelyActor, definition: string): StatelyMessage {
  return {
    type: '@xstate.actor',
    name: `${kind} ${id}`,
    ...(kind === 'vm' && { parentId: rootOf(kind, id) }),
    definition,
    snapshot,
    ...base({ kind, id, at }, `${kind}:${id}:${seq}:actor`),
  };
}

export function eventMessage(entry: JournalEntry): StatelyMessage {
  const sourceId = sourceOf(entry);
  return {
    type: '@xstate.event',
    event: shownEvent(entry),
    ...(sourceId !== null && { sourceId }),
    ...base(entry, entry.messageId),
  };
}

export function snapshotMessage(entry: JournalEntry, snapshot: Snapshot): StatelyMessage {
  return {
    type: '@xstate.snapshot',
    event: shownEvent(entry),
    snapshot,
    ...base(entry, `${entry.kind}:${entry.id}:${entry.seq}`),
  };
}

/** The config of a definition's machine as text: guards, actions and delays by their names. */
export function machineText({ machine }: ActorDefinition): string {
  return JSON.stringify(machine.config, (_name, value) =>
    typeof value === 'function' ? { type: value.name || 'inline' } : value,
  );
}

function base(
  { kind, id, at }: { readonly kind: string; readonly id: string; readonly at: number },
  message: string,
): Base {
  return {
    rootId: rootOf(kind, id),
    sessionId: `${kind}:${id}`,
    createdAt: String(at),
    id: message,
    _version: PROTOCOL_VERSION,
  };
}

/** A vm's id is `<sandbox id>.<incarnation>`. */
function rootOf(kind: string, id: string): string {
  return kind === 'vm' ? `sandbox:${id.split('.', 1)[0]}` : `${kind}:${id}`;
}

/** The actor that sent it; a command to a vm names its sender by its key. */
function sourceOf({ cause, event, kind }: JournalEntry): string | null {
  if (cause.type === 'actor') return `${cause.kind}:${cause.id}`;
  if (kind !== 'vm' || typeof event.key !== 'string') return null;
  const [, sender] = /^(sandbox:[a-z0-9]+):\d+$/.exec(event.key) ?? [];
  return sender ?? null;
}

function shownEvent(entry: JournalEntry): { type: string } {
  const { event } = entryJson(entry);
  if (event === null || typeof event !== 'object' || !('type' in event) || typeof event.type !== 'string') {
    throw new WrennError('internal', 'An entry has an event without a type.');
  }
  return event as { type: string };
}
