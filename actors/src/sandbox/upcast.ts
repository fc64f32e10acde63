import type { Json } from '@wrenn/core';
import type { SandboxContext } from './events.ts';

type Stored = { context: SandboxContext; [part: string]: unknown };

/**
 * From version 1, which knew no pauses: nothing was ever paused, and an idle check that is under way ends as it was asked
 * for. What a missing one was doing is known by whether it ever ran.
 */
export function withPauses(snapshot: Json): Json {
  const { context, ...rest } = snapshot as unknown as Stored;
  const { spec, ...before } = context;
  const upcast: SandboxContext = {
    ...before,
    spec: { ...spec, snapshot: null },
    doing: before.started_at === null ? 'starting' : 'running',
    paused_incarnation: 0,
    snapshot: null,
    paused_at: null,
    pause_cause: 'request',
    pause_failures: 0,
    operation: null,
    settled: false,
    pause_waiters: [],
    resume_waiters: [],
  };
  return { ...rest, context: upcast } as unknown as Json;
}
