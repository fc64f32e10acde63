import type { VmStatus } from './events.ts';

/** What the agent knows of one incarnation of a sandbox, buried ones (tombstones) included. */
export interface KnownIncarnation {
  readonly incarnation: number;
  readonly status: VmStatus;
  readonly epoch: number;
}

export type Admission =
  | { readonly admit: true; readonly join: boolean }
  | {
      readonly admit: false;
      readonly code: 'stale_epoch' | 'stale_incarnation' | 'incarnation_buried' | 'earlier_incarnation_live';
      readonly message: string;
      readonly retryable: boolean;
    };

/**
 * May this incarnation be started here (I1)? Over everything the agent knows of the sandbox: a command of an older owner,
 * an incarnation below one that was seen, and one that is buried are refused; one that lives is joined; and while an
 * earlier one still holds anything, the later one waits (retryable).
 */
export function admitIncarnation(
  known: Iterable<KnownIncarnation>,
  wanted: { readonly incarnation: number; readonly epoch: number },
): Admission {
  let join = false;
  let earlierLive: number | null = null;
  for (const one of known) {
    if (one.epoch > wanted.epoch) {
      return refuse('stale_epoch', `epoch ${wanted.epoch} is older than ${one.epoch}`, false);
    }
    if (one.incarnation > wanted.incarnation) {
      return refuse('stale_incarnation', `incarnation ${wanted.incarnation} is below ${one.incarnation}`, false);
    }
    const live = one.status !== 'gone' && one.status !== 'paused';
    if (one.incarnation === wanted.incarnation) {
      if (!live) return refuse('incarnation_buried', `incarnation ${wanted.incarnation} has ended here`, false);
      join = true;
    } else if (live) {
      earlierLive = one.incarnation;
    }
  }
  if (!join && earlierLive !== null) {
    return refuse('earlier_incarnation_live', `incarnation ${earlierLive} still holds resources here`, true);
  }
  return { admit: true, join };
}

function refuse(code: (Admission & { admit: false })['code'], message: string, retryable: boolean): Admission {
  return { admit: false, code, message, retryable };
}
