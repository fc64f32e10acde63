// Where a freeze leads that comes to nothing.

/** A freeze that comes to nothing: the boot of a template is given up, any other guest runs on. */
export const FREEZE_FAILED = [
  { guard: 'isBoot', target: 'releasing', actions: 'noteStepFailed' },
  { target: 'continuing', actions: 'noteSetback' },
] as const;
export const FREEZE_TIMED_OUT = [
  { guard: 'isBoot', target: 'releasing', actions: { type: 'blame', params: { code: 'start_timeout' } } },
  { target: 'continuing', actions: { type: 'setback', params: { code: 'timeout' } } },
] as const;
/** What a pause has saved is good as long as its guest does not run on. */
export const PUBLISH_TIMED_OUT = [
  FREEZE_TIMED_OUT[0],
  { guard: 'isPause', target: 'continuing', actions: { type: 'setback', params: { code: 'publish_timeout' } } },
  FREEZE_TIMED_OUT[1],
] as const;
export const FREEZE_INTERRUPTED = [
  { guard: 'isBoot', target: 'releasing', actions: { type: 'blame', params: { code: 'guest_lost' } } },
  { target: 'continuing', actions: { type: 'setback', params: { code: 'interrupted' } } },
] as const;
