import type { ActorView } from '@wrenn/core';
import type { VmContext, VmReport, VmStatus } from './events.ts';

const STATUS_OF: Readonly<Record<string, VmStatus>> = {
  queued: 'starting',
  preparing: 'starting',
  booting: 'starting',
  ready: 'ready',
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

/** The same from a context, for answers given inside the machine. */
export function reportOf(context: VmContext, status: VmStatus): VmReport {
  return {
    sandbox_id: context.sandbox_id,
    incarnation: context.incarnation,
    status,
    ...context.failure,
    ...(context.slot && { host_ip: context.slot.host_ip, guest_ip: context.slot.guest_ip }),
    timings_ms: context.timings_ms,
    ...(context.console_tail !== null && { console_tail: context.console_tail }),
  };
}
