/** Actions of transitions that lead to an end, or to where nobody knows. */

export const destroyed = [
  { type: 'blame', params: { code: 'destroyed' } },
  { type: 'audit', params: { action: 'sandbox.destroy', status: 'success' } },
] as const;
export const unreachable = ['noteAway', { type: 'blame', params: { code: 'host_unreachable' } }] as const;
export const released = (code: 'released_by_host' | 'lost_on_host' | 'host_deleted') =>
  ['noteReleased', { type: 'blame', params: { code } }, 'auditEnd'] as const;
/** Its host is no longer of the fleet, and what it held of it is gone with it. */
export const byHostDeletion = {
  guard: 'sameHost',
  target: '#sandbox.stopped',
  actions: released('host_deleted'),
} as const;
export const failed = ['blameReport', 'noteReport'] as const;
