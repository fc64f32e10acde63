import { sandboxSetup } from './answers.ts';
import { error, missing, stopped, stopping } from './states/end.ts';
import { paused, pausing, resuming } from './states/pause.ts';
import { running } from './states/running.ts';
import { placing, starting } from './states/start.ts';

/**
 * The life of a sandbox, as the control plane decides it. Its states stand in `states/`.
 *
 * It is placed on a host (`placing`), started there (`starting`), lives (`running`), and ends in `stopped`, or in
 * `error`, which keeps what can be inspected until it is destroyed. Between it may rest as files of its host (`pausing`,
 * `paused`, `resuming`), holding no capacity, and its host may get lost: `missing` is a rest that is left again when the
 * host comes back and says what is true. Of a running and of a paused one a snapshot or a fork can be made, one at a time
 * (the region `operation`): the snapshot is an actor of its own (`snapshot`), the children are ordinary sandboxes.
 *
 * Who sends what: CREATE, DESTROY, PATCH, PING, PAUSE, RESUME, SNAPSHOT and FORK are commands of people and programs.
 * RESERVED comes from the transaction that reserves capacity, so that a sandbox that holds a VM has a reservation and one
 * that does not has none (I6). VM_…, PAUSE_FAILED, BRANCHED, RELEASED, ACTIVE and INSPECTED are what a host reports, as
 * the result of an effect or on its own; HOST_… come from the actor of the host.
 *
 * Rules that the states keep:
 * - Every start has a new incarnation, also every resume, and reports of another one are not heard (I1). A start that
 *   failed terminally is left through `stopping`, whose `vm.destroy` buries the incarnation on the host before anything
 *   else may happen. A resume that failed is left to `paused`: the snapshot of `paused_incarnation` is whole until a later
 *   incarnation is paused, so nothing that frees the host of the failed one may free it of that.
 * - A deadline of work on a host never decides: it asks the host (`inspecting`), whose report does. No report: `missing`,
 *   which remembers what was being done. Only deadlines before any host is involved (`placing`, `reserving`) decide by
 *   themselves, and those of `operation`, by which nothing is lost.
 * - `stopping` ends only with RELEASED or with the host's deletion. It is repeated for ever, and seen.
 * - Idleness is decided on the host, which alone counts activity: the timer asks "pause it if idle for so long" (or destroy
 *   it, as `on_timeout` says), and the answer ACTIVE sets the timer anew (SN7). Three failures of a timer's pause end it.
 * - Commands that would be in each other's way are refused, not queued (SN13): 409 with the state, since when, and what is
 *   legal. RESUME with `join` is the exception, for traffic that wakes it: the first one resumes, the others wait with it.
 * - CREATE is answered once: at `running`, or with the reason at `error`, `stopped` or `missing`. PAUSE and RESUME are
 *   answered where they led, or with why not, at the latest where the work is left for another reason. DESTROY is answered
 *   at `stopped`, or with status `stopping` where the host is away (I8).
 */
export const sandboxMachine = sandboxSetup.createMachine({
  id: 'sandbox',
  context: ({ input }) => ({
    sandbox_id: input?.sandbox_id ?? '',
    spec: input?.event.spec,
    created_at: input?.meta.at ?? 0,
    status: 'pending',
    status_since: input?.meta.at ?? 0,
    incarnation: 0,
    host_id: null,
    host_ip: null,
    guest_ip: null,
    excluded_hosts: [],
    extensions: 0,
    seen: null,
    started_at: null,
    last_active_at: null,
    timings_ms: {},
    reason: null,
    console_tail: null,
    away: false,
    doing: 'pending',
    paused_incarnation: 0,
    snapshot: null,
    paused_at: null,
    pause_cause: 'request',
    pause_failures: 0,
    operation: null,
    settled: false,
    released: true,
    stop_as: 'stopped',
    create_waiter: input?.event.wait === false ? null : (input?.meta.id ?? null),
    destroy_waiters: [],
    pause_waiters: [],
    resume_waiters: [],
  }),
  entry: ['answerUnwaited', 'auditCreate'],
  initial: 'placing',
  states: { placing, starting, running, pausing, paused, resuming, missing, stopping, error, stopped },
});
