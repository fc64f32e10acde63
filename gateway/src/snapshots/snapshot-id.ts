import { derivedBase36, randomBase36 } from '../base36.ts';

/** Id of a snapshot, for its actor, its row in `templates` and its host (whose rule is `^[a-z0-9-]{1,64}$`). */
export function newSnapshotId(): string {
  return `tpl-${randomBase36()}`;
}

/** The id of a snapshot that is asked for with an idempotency key: derived, so that a retry meets the same actor. */
export function derivedSnapshotId(teamId: string, idempotencyKey: string): string {
  return `tpl-${derivedBase36('snapshot', teamId, idempotencyKey)}`;
}
