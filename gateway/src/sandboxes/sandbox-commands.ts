import { type Answer, errorFrom, isErrorCode, type Json, WrennError } from '@wrenn/core';

/** What a refused command says of the state it met. */
export interface StateDetails {
  readonly state: string;
  readonly since: string;
  readonly legal_commands: readonly string[];
}

/** The value of an answered command; a refusal or failure is thrown as what the caller is told. */
export function answered(answer: Answer): Json {
  if (answer.ok) return answer.value;
  const { code, message, details } = answer.error;
  if (code === 'illegal_command' || code === 'actor_done') throw illegal(message, details);
  throw failure(answer.error);
}

/** A failure as the caller is told it: hosts have codes of their own. */
export function failure(facts: {
  readonly code: string;
  readonly message: string;
  readonly details?: Json;
}): WrennError {
  const { code, message, details } = facts;
  if (isErrorCode(code)) return errorFrom(facts);
  return new WrennError(HOST_FULL.has(code) ? 'no_hosts_available' : 'vm_failed', message, {
    details: { ...asObject(details), reason: code },
  });
}

/** Codes of a host alone (the others are like `vmm_failed`) that mean: there is room elsewhere or later. */
const HOST_FULL: ReadonlySet<string> = new Set(['no_slots_available', 'no_space']);

/** 409 with the state, since when, and what is legal now. */
function illegal(message: string, details: Json | undefined): WrennError {
  const { path, since, legal_commands } = asObject(details);
  return new WrennError('illegal_command', message, {
    details: {
      ...(typeof path === 'string' && { state: path.split(/[.+]/, 1)[0] }),
      ...(typeof since === 'number' && { since: new Date(since).toISOString() }),
      legal_commands: Array.isArray(legal_commands) ? legal_commands : [],
    },
  });
}

function asObject(details: Json | undefined): { readonly [name: string]: Json | undefined } {
  return details !== null && typeof details === 'object' && !Array.isArray(details) ? details : {};
}
