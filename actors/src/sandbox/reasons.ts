import type { SandboxContext } from './events.ts';

/** Reasons that the machine itself finds, as people read them, and whether the sandbox ends in `stopped` or `error` by them. */
export const reasons = {
  destroyed: { message: 'destroyed on request', end: 'stopped' },
  no_hosts_available: { message: 'no host had room for the sandbox in time', end: 'error' },
  start_timeout: { message: 'it did not start in time', end: 'error' },
  idle_timeout: { message: 'it was idle for longer than timeout_sec', end: 'stopped' },
  lifetime_ended: { message: 'ends_at was reached', end: 'stopped' },
  released_by_host: { message: 'its host released it unasked', end: 'stopped' },
  lost_on_host: { message: 'its host no longer has it', end: 'stopped' },
  host_deleted: { message: 'its host was removed from the fleet', end: 'stopped' },
  host_unreachable: { message: 'its host cannot be reached', end: 'stopped' },
  pause_timeout: { message: 'the host did not pause it in time', end: 'error' },
  resume_timeout: { message: 'the host did not resume it in time', end: 'error' },
  pause_impossible: { message: 'it was to be paused by its timer, which failed three times', end: 'stopped' },
  memory_lost: { message: 'its host lost the running VM and has only an earlier snapshot', end: 'error' },
  host_without_data: { message: 'its host came back without the data that knew it', end: 'stopped' },
} as const satisfies Record<string, { message: string; end: SandboxContext['stop_as'] }>;

export type ReasonCode = keyof typeof reasons;
