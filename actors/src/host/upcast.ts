import type { Json } from '@wrenn/core';
import type { HostContext } from './events.ts';

type Stored = { context: HostContext; [part: string]: unknown };

/** From version 1, which kept ids of orphans without since when: the next inventory notes them anew. */
export function withOrphansSince(snapshot: Json): Json {
  const { context, ...rest } = snapshot as unknown as Stored;
  return { ...rest, context: { ...context, orphans: [] } } as unknown as Json;
}
