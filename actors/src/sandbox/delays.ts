import { timeOf } from '../stamp.ts';
import { RESUME_BUDGET_MS, START_BUDGET_MS, saveBudgetMs } from './effects.ts';
import type { SandboxContext } from './events.ts';

/** SN7: activity is counted to 2 s, a finer timer would only ask more often. */
const IDLE_GRANULARITY_MS = 2_000;
/** A timer that finds a snapshot or fork under way looks again after this. */
const BUSY_MS = 1_000;
/** Pause between the pauses of a timer that fail. */
const PAUSE_AGAIN_MS = 10_000;
/** What a host's answer may take beyond the budget that it was given. */
const ANSWER_MS = 10_000;

type Args = { context: SandboxContext; event: unknown };

/** Not before this, whatever the timer says: the last pause failed, or something else is being done. */
const earliest = ({ pause_failures, operation }: SandboxContext): number => {
  if (pause_failures > 0) return PAUSE_AGAIN_MS;
  return operation === null ? 0 : BUSY_MS;
};

const saveDeadline = ({ context }: Args): number => saveBudgetMs(context.spec.memory_mb) + ANSWER_MS;

/** Every deadline of the machine, in milliseconds (I3). */
export const delays = {
  PLACE_DEADLINE: 30_000,
  /** The host's budget counts from its admission; the rest is for the queue there. */
  START_DEADLINE: START_BUDGET_MS + 30_000,
  RESERVE_DEADLINE: 30_000,
  RESUME_DEADLINE: RESUME_BUDGET_MS + ANSWER_MS,
  INSPECT_DEADLINE: 30_000,
  IDLE_CHECK_DEADLINE: 30_000,
  /** A destroy that takes longer is opened anew, so that none sleeps in a long back-off or parked. */
  STOP_REVIEW: 600_000,
  /** 120 s, and what it takes to write the memory. */
  PAUSE_DEADLINE: saveDeadline,
  BRANCH_DEADLINE: saveDeadline,
  /** What is left of `timeout_sec` since the last activity. */
  IDLE: ({ context, event }: Args) => {
    const dueAt = (context.last_active_at ?? timeOf(event)) + context.spec.timeout_sec * 1000;
    return Math.max(IDLE_GRANULARITY_MS, earliest(context), dueAt - timeOf(event));
  },
  LIFETIME: ({ context, event }: Args) => Math.max(0, earliest(context), (context.spec.ends_at ?? 0) - timeOf(event)),
};
