import type { WrennError } from '@wrenn/core';
import { notFound } from '../http/problems.ts';

/** The same for unknown ids and for another team's: whether that exists is no one's business. */
export function noSuchSandbox(): WrennError {
  return notFound('No such sandbox.');
}
