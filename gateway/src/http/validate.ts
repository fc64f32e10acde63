import type { z } from 'zod';
import { badRequest, invalidRequest } from './problems.ts';

/** Checks one part of a request; a failure is 400 and names every offending field. */
export function validate<S extends z.ZodType>(
  schema: S,
  value: unknown,
  where: 'body' | 'query' | 'path',
): z.output<S> {
  const result = schema.safeParse(value, { error: inWords });
  if (result.success) return result.data;
  const fields = result.error.issues.flatMap((issue) => faults(issue, where));
  throw invalidRequest(fields);
}

const KINDS: Readonly<Record<string, string>> = {
  array: 'a list',
  boolean: 'true or false',
  int: 'a whole number',
  number: 'a number',
  object: 'an object',
  record: 'an object',
  string: 'a string',
};

/** Plain words where a schema has none of its own; undefined: zod's. */
function inWords(issue: z.core.$ZodRawIssue): string | undefined {
  if (issue.code === 'invalid_type') {
    return issue.input === undefined ? 'is required' : `must be ${KINDS[issue.expected] ?? issue.expected}`;
  }
  if (issue.code !== 'invalid_value') return undefined;
  return `must be ${issue.values.length > 1 ? 'one of ' : ''}${issue.values.map((one) => JSON.stringify(one)).join(', ')}`;
}

export interface FieldFault {
  /** Dotted path: `labels.team`. Empty for the whole. */
  readonly field: string;
  readonly in: 'body' | 'query' | 'path';
  readonly message: string;
}

function faults(issue: z.core.$ZodIssue, where: FieldFault['in']): FieldFault[] {
  const path = issue.path.map(String);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ field: [...path, key].join('.'), in: where, message: 'unknown field' }));
  }
  if (issue.code === 'invalid_key') {
    const reasons = issue.issues.map(({ message }) => message).join(', ');
    return [{ field: path.join('.'), in: where, message: reasons || issue.message }];
  }
  return [{ field: path.join('.'), in: where, message: issue.message }];
}

/** Query parameters; one that comes several times is an array. */
export function parseQuery(raw: string): Record<string, string | string[]> {
  const values: Record<string, string | string[]> = Object.create(null);
  for (const pair of raw === '' ? [] : raw.split('&')) {
    const [name = '', ...rest] = pair.split('=');
    const key = decodePart(name.replaceAll('+', ' '));
    const value = decodePart(rest.join('=').replaceAll('+', ' '));
    const earlier = values[key];
    values[key] = earlier === undefined ? value : Array.isArray(earlier) ? [...earlier, value] : [earlier, value];
  }
  return { ...values };
}

export function parseParams(names: readonly string[], raw: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.map((name, index) => [name, decodePart(raw[index] ?? '')]));
}

/** NUL is refused here for all routes: PostgreSQL has no such text, and no name has it. */
function decodePart(raw: string): string {
  try {
    const text = decodeURIComponent(raw);
    if (!text.includes('\0')) return text;
  } catch {
    // falls through: a broken escape or bytes that are not UTF-8
  }
  throw badRequest('The URL has a broken percent escape or a NUL.');
}
