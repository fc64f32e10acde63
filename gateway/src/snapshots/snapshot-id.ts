import { randomInt } from 'node:crypto';

const ALPHABET = '0123456789abcdefghijklmnopqrstuvwxyz';
const LENGTH = 20;

/** Id of a snapshot, for its actor, its row in `templates` and its host (whose rule is `^[a-z0-9-]{1,64}$`). */
export function newSnapshotId(): string {
  return `tpl-${Array.from({ length: LENGTH }, () => ALPHABET[randomInt(36)]).join('')}`;
}
