import type { SandboxEvent, SandboxStatus, VmFacts } from './events.ts';

/**
 * What a spontaneous report of a host (its watch stream) means to the sandbox; null where it tells of work under way.
 * It is sent without an effect key: its incarnation says what it is about, and a key whose effect is closed would make a
 * true fact late.
 */
export function eventOfReport(facts: VmFacts): SandboxEvent | null {
  const { status, incarnation, store_id, cursor, console_tail } = facts;
  const origin = {
    incarnation,
    ...(store_id !== undefined && { store_id }),
    ...(cursor !== undefined && { cursor }),
  };
  if (status === 'ready') {
    const { host_ip = '', guest_ip = '', timings_ms = {} } = facts;
    return { type: 'VM_READY', ...origin, host_ip, guest_ip, timings_ms };
  }
  const tail = console_tail === undefined ? {} : { console_tail };
  const { code, message = '', retryable = false } = facts;
  if (status === 'crashed') return { type: 'VM_DIED', ...origin, code: code ?? 'vm_died', message, ...tail };
  if (status === 'paused') {
    const { snapshot = null, timings_ms = {} } = facts;
    return { type: 'VM_PAUSED', ...origin, snapshot, timings_ms };
  }
  if (status !== 'gone') return null;
  if (code === undefined) return { type: 'RELEASED', ...origin };
  return { type: 'VM_FAILED', ...origin, code, message, retryable, ...tail };
}

/**
 * Whether HOST_BACK with these facts tells the sandbox anything: every sweep of a host would otherwise write a line into
 * the journal of each of its sandboxes. One on which the host is at work is told by its own effect.
 */
export function isNewsTo(
  sandbox: { status: SandboxStatus; incarnation: number; unreachable: boolean },
  facts: VmFacts,
): boolean {
  const { status, incarnation, unreachable } = sandbox;
  if (status === 'paused') return facts.status !== 'paused' || unreachable;
  if (status === 'running') return facts.status !== 'ready' || facts.incarnation !== incarnation;
  return status === 'missing' || status === 'stopping';
}
