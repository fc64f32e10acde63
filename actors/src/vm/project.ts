import type { ActorView } from '@wrenn/core';
import type { VmContext, VmReport, VmStatus } from './events.ts';

const STATUS_OF: Readonly<Record<string, VmStatus>> = {
  queued: 'starting',
  preparing: 'starting',
  booting: 'starting',
  restoring: 'starting',
  ready: 'ready',
  parked: 'ready',
  // A pause or branch on its way: the guest is there, and runs on if it fails.
  branching: 'ready',
  quiescing: 'ready',
  saving: 'ready',
  publishing: 'ready',
  continuing: 'ready',
  paused: 'paused',
  crashed: 'crashed',
  releasing: 'releasing',
  gone: 'gone',
};

/** What the protocol calls the state of the incarnation. */
export function status(view: ActorView<VmContext>): VmStatus {
  const top = view.path.split(/[.+]/, 1)[0] ?? '';
  return STATUS_OF[top] ?? 'gone';
}

/** The fact that the agent sends up: of a commit, of an inspection, of a list. */
export function vmReport(view: ActorView<VmContext>): VmReport {
  return reportOf(view.context, status(view));
}

/** Whether an actor is an incarnation of a sandbox, which alone reports tell of. */
export function isSandboxVm(view: ActorView<VmContext>): boolean {
  return view.context.purpose === 'sandbox';
}

/** The same from a context, for answers given inside the machine. */
export function reportOf(context: VmContext, status: VmStatus): VmReport {
  return {
    sandbox_id: context.sandbox_id,
    incarnation: context.incarnation,
    status,
    ...context.failure,
    ...(context.slot && { host_ip: context.slot.host_ip, guest_ip: context.slot.guest_ip }),
    timings_ms: context.timings_ms,
    ...(status === 'paused' && context.snapshot !== null && { snapshot: context.snapshot }),
    ...(context.console_tail !== null && { console_tail: context.console_tail }),
  };
}
