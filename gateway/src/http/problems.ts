import { WrennError } from '@wrenn/core';
import type { FieldFault } from './validate.ts';

/** Failures of the HTTP layer itself, by name. Codes and statuses are rows of core's one table. */

export function badRequest(message: string): WrennError {
  return new WrennError('bad_request', message);
}

/** 400 that names every field at fault. */
export function invalidRequest(fields: readonly FieldFault[]): WrennError {
  const words = fields.map((fault) => `${fault.field === '' ? `the ${fault.in}` : fault.field}: ${fault.message}`);
  const details = { fields: fields.map((fault) => ({ ...fault })) };
  return new WrennError('bad_request', words.join('; '), { details });
}

export function unauthorized(message = 'Sign in or send a valid key.'): WrennError {
  return new WrennError('unauthorized', message);
}

export function forbidden(message = 'You may not do this.'): WrennError {
  return new WrennError('forbidden', message);
}

/** Also for what belongs to another team: its existence is no one's business. */
export function notFound(what = 'No such resource.'): WrennError {
  return new WrennError('not_found', what);
}

export function methodNotAllowed(allowed: readonly string[]): WrennError {
  return new WrennError('method_not_allowed', `Allowed here: ${allowed.join(', ')}.`, {
    details: { allowed: [...allowed] },
  });
}

export function payloadTooLarge(maxBytes: number): WrennError {
  return new WrennError('payload_too_large', `The body is larger than ${maxBytes} bytes.`, {
    details: { max_bytes: maxBytes },
  });
}

export function unsupportedMediaType(accepted: readonly string[]): WrennError {
  return new WrennError('unsupported_media_type', `The body must be ${accepted.join(' or ')}.`, {
    details: { accepted: [...accepted] },
  });
}

export function clientGone(): WrennError {
  return new WrennError('canceled', 'The client closed the connection.');
}

export function stopping(): WrennError {
  return new WrennError('unavailable', 'The server is stopping.');
}

/** A plain GET of a WebSocket route. */
export function upgradeRequired(): WrennError {
  return new WrennError('upgrade_required', 'This is a WebSocket: ask for an upgrade.');
}
