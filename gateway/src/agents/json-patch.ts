import type { Json } from '@wrenn/core';

/** The operations that journals hold (RFC 6902: add, remove, replace). */
type Operation = { readonly op: string; readonly path: string; readonly value?: Json };

const OWN = { configurable: true, enumerable: true, writable: true } as const;

/** Applies a journal entry's `diff`; the document given is left as it is. A path that is not there throws. */
export function applyDiff(document: Json, diff: readonly Json[]): Json {
  let result = structuredClone(document);
  for (const operation of diff as unknown as readonly Operation[]) result = apply(result, operation);
  return result;
}

function apply(root: Json, { op, path, value }: Operation): Json {
  if (path === '') return value ?? null;
  const keys = path.slice(1).split('/').map(unescapeKey);
  const last = keys.pop() ?? '';
  let parent: Json | undefined = root;
  for (const key of keys) parent = child(parent, key);
  if (Array.isArray(parent)) applyToArray(parent, op, last, value ?? null);
  else if (parent !== null && typeof parent === 'object') {
    if (op === 'remove') delete parent[last];
    // Defined, not assigned: a key may be named `__proto__`.
    else Object.defineProperty(parent, last, { ...OWN, value: value ?? null });
  } else throw new Error(`no such place: ${path}`);
  return root;
}

function applyToArray(array: Json[], op: string, key: string, value: Json): void {
  const index = key === '-' ? array.length : Number(key);
  if (!Number.isInteger(index) || index < 0 || index > array.length) throw new Error(`no such place: ${key}`);
  if (op === 'remove') array.splice(index, 1);
  else if (op === 'add') array.splice(index, 0, value);
  else array[index] = value;
}

function child(parent: Json | undefined, key: string): Json | undefined {
  if (Array.isArray(parent)) return parent[Number(key)];
  return parent !== null && typeof parent === 'object' && Object.hasOwn(parent, key) ? parent[key] : undefined;
}

/** RFC 6901, section 3. */
function unescapeKey(key: string): string {
  return key.replaceAll('~1', '/').replaceAll('~0', '~');
}
