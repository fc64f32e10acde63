import type { Json } from '../definition.ts';

/**
 * RFC 6902 operations (add, remove, replace) that lead from one JSON value to another. Parts that are the same object are
 * skipped without a look, which makes it cheap after XState's `assign`. Arrays are compared place by place.
 */
export function jsonDiff(from: Json | undefined, to: Json | undefined): Json[] {
  const operations: Json[] = [];
  compare(from ?? null, to ?? null, '', operations);
  return operations;
}

function compare(from: Json, to: Json, path: string, operations: Json[]): void {
  if (from === to) return;
  if (Array.isArray(from) && Array.isArray(to)) compareArrays(from, to, path, operations);
  else if (isObject(from) && isObject(to)) compareObjects(from, to, path, operations);
  else operations.push({ op: 'replace', path, value: to });
}

function compareObjects(
  from: { [key: string]: Json | undefined },
  to: { [key: string]: Json | undefined },
  path: string,
  operations: Json[],
): void {
  for (const key of Object.keys(from)) {
    if (own(from, key) !== undefined && own(to, key) === undefined)
      operations.push({ op: 'remove', path: `${path}/${pointer(key)}` });
  }
  for (const key of Object.keys(to)) {
    const after = own(to, key);
    const before = own(from, key);
    if (after === undefined) continue;
    if (before === undefined) operations.push({ op: 'add', path: `${path}/${pointer(key)}`, value: after });
    else compare(before, after, `${path}/${pointer(key)}`, operations);
  }
}

function compareArrays(from: Json[], to: Json[], path: string, operations: Json[]): void {
  const common = Math.min(from.length, to.length);
  for (let i = 0; i < common; i += 1) compare(from[i] ?? null, to[i] ?? null, `${path}/${i}`, operations);
  for (let i = from.length - 1; i >= common; i -= 1) operations.push({ op: 'remove', path: `${path}/${i}` });
  for (let i = common; i < to.length; i += 1) operations.push({ op: 'add', path: `${path}/-`, value: to[i] ?? null });
}

/** A key may be named like something every object inherits: `valueOf`, `__proto__`. */
function own(object: { [key: string]: Json | undefined }, key: string): Json | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

function isObject(value: Json): value is { [key: string]: Json | undefined } {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

/** RFC 6901, section 3. */
function pointer(key: string): string {
  return key.replaceAll('~', '~0').replaceAll('/', '~1');
}
