export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** One operation of RFC 6902, of the kinds that a journal has. */
export interface Operation {
  readonly op: 'add' | 'remove' | 'replace';
  readonly path: string;
  readonly value?: Json;
}

/** Applies a journal entry's diff. The value given is left as it was; what did not change is shared. */
export function applyDiff(value: Json, diff: readonly Operation[]): Json {
  return diff.reduce<Json>((result, { op, path, value: operand = null }) => {
    const names = path.split('/').slice(1).map(fromPointer);
    return change(result, names, op, operand);
  }, value);
}

function change(value: Json, names: readonly string[], op: Operation['op'], operand: Json): Json {
  const [name, ...rest] = names;
  if (name === undefined) return operand;
  if (Array.isArray(value)) {
    const copy = [...value];
    const at = name === '-' ? copy.length : Number(name);
    if (rest.length > 0) copy[at] = change(copy[at] ?? null, rest, op, operand);
    else if (op === 'add') copy.splice(at, 0, operand);
    else if (op === 'remove') copy.splice(at, 1);
    else copy[at] = operand;
    return copy;
  }
  const copy = { ...(value as { [name: string]: Json } | null) };
  if (rest.length > 0) copy[name] = change(copy[name] ?? null, rest, op, operand);
  else if (op === 'remove') delete copy[name];
  else copy[name] = operand;
  return copy;
}

function fromPointer(name: string): string {
  return name.replaceAll('~1', '/').replaceAll('~0', '~');
}

/** Whether a field is a time: milliseconds since 1970, between 2001 and 2286, under a name that says so. */
export function isTime(name: string, value: Json | undefined): value is number {
  return typeof value === 'number' && value > 1e12 && value < 1e13 && /(_at|_since|^at)$/.test(name);
}

/** What stands at a JSON pointer; undefined where nothing does. */
export function valueAt(value: Json, pointer: string): Json | undefined {
  let at: Json | undefined = value;
  for (const name of pointer.split('/').slice(1).map(fromPointer)) {
    if (at === null || typeof at !== 'object') return undefined;
    at = (at as { [name: string]: Json })[name];
  }
  return at;
}
