/**
 * A failure of this host: a stable code, words for people, and whether another host may succeed where this one did not.
 * Codes are rows of core's table or the host's own (docs/contracts.md, "Failures of the agent's service").
 */
export class AgentError extends Error {
  readonly code: string;
  readonly retryable: boolean;

  constructor(code: string, message: string, options?: ErrorOptions & { readonly retryable?: boolean }) {
    super(message, options);
    this.name = 'AgentError';
    this.code = code;
    this.retryable = options?.retryable ?? RETRYABLE.has(code);
  }
}

/** Of these, another host may know better. */
const RETRYABLE: ReadonlySet<string> = new Set([
  'template_not_found',
  'no_slots_available',
  'disk_full',
  'vmm_failed',
  'boot_timeout',
  'guest_error',
  'guest_unresponsive',
  'internal',
]);

/** Whatever was thrown, as code and words; a host without space is told from other faults. */
export function describeError(error: unknown): { code: string; message: string; retryable: boolean } {
  if (error instanceof AgentError) return { code: error.code, message: error.message, retryable: error.retryable };
  const errno = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  if (errno === 'snapshot_damaged') return { code: errno, message: wordsOf(error), retryable: false }; // the addon's
  const full = errno === 'ENOSPC' || errno === 'EDQUOT' || errno === 'no_space'; // the last is the addon's
  return { code: full ? 'disk_full' : 'internal', message: wordsOf(error), retryable: true };
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
