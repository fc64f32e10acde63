import type { Json } from '../definition.ts';

/**
 * What PostgreSQL's jsonb refuses and would fail a whole batch: NUL, and halves of surrogate pairs. Guests can send both.
 * `JSON.stringify` writes either as an escape, so one look at the text tells whether anything must be done.
 */
const SUSPECT = /\\u(?:0000|[dD][89a-fA-F])/;

/** The value as it can be stored: NUL becomes U+2400 (the visible symbol for it), half a pair becomes U+FFFD. */
export function storable<T>(value: T): T {
  return SUSPECT.test(JSON.stringify(value) ?? '') ? (clean(value as Json) as T) : value;
}

/** JSON text for a jsonb column, whatever the machine made of its events. */
export function storableJson(value: unknown): string {
  const text = JSON.stringify(value) ?? 'null';
  return SUSPECT.test(text) ? JSON.stringify(clean(value as Json)) : text;
}

/** A string for a text column. */
export function storableText(text: string): string {
  return text.includes('\0') ? text.replaceAll('\0', '\u2400') : text;
}

function clean(value: Json | undefined): Json | undefined {
  if (typeof value === 'string') return storableText(value).toWellFormed();
  if (Array.isArray(value)) return value.map((item) => clean(item) ?? null);
  if (value !== null && typeof value === 'object') {
    const plain = 'toJSON' in value ? (JSON.parse(JSON.stringify(value)) as Json) : value;
    if (plain === null || typeof plain !== 'object') return plain;
    return Object.fromEntries(Object.entries(plain).map(([key, item]) => [clean(key) as string, clean(item)]));
  }
  return value;
}
