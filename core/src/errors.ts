import type { Json } from './definition.ts';
import { type ErrorCode, errorCodes } from './error-codes.ts';

export interface WrennErrorOptions {
  readonly details?: Json;
  /** Kept for the log; never shown to a user. */
  readonly cause?: unknown;
}

/** A failure with a stable code. Its message and details may be shown to a user; its cause may not. */
export class WrennError extends Error {
  override readonly name: string = 'WrennError';
  readonly code: ErrorCode;
  readonly details: Json;

  constructor(code: ErrorCode, message: string, options: WrennErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details ?? {};
  }

  /** HTTP status of the code. */
  get status(): number {
    return errorCodes[this.code].status;
  }

  /** Name of the Connect code (`not_found`, `unavailable` …). */
  get connect(): string {
    return errorCodes[this.code].connect;
  }

  /** True when the same request may succeed later without any change. */
  get retryable(): boolean {
    return errorCodes[this.code].retryable;
  }
}

/** Thrown by an effect handler when trying again is of no use: the effect is given up at once. */
export class TerminalError extends WrennError {
  override readonly name = 'TerminalError';

  override get retryable(): boolean {
    return false;
  }
}

/** The pair that is stored and shown for anything thrown: its own code where it has one, never a stack. */
export function errorFacts(error: unknown): { code: string; message: string } {
  if (error instanceof WrennError) return { code: error.code, message: error.message };
  if (error instanceof Error) {
    const { code } = error as { code?: unknown };
    return {
      code: typeof code === 'string' || typeof code === 'number' ? String(code) : 'internal',
      message: error.message,
    };
  }
  return { code: 'internal', message: String(error) };
}

/** True for a code of the table; codes from stored answers and remote peers are strings of any kind. */
export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorCodes, code);
}

/** An answer's or a peer's `{code, message}` as an error to throw; a code that is not in the table becomes `internal`. */
export function errorFrom(facts: {
  readonly code: string;
  readonly message: string;
  readonly details?: Json;
}): WrennError {
  const options = facts.details === undefined ? {} : { details: facts.details };
  return new WrennError(isErrorCode(facts.code) ? facts.code : 'internal', facts.message, options);
}
