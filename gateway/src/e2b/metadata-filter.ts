import { badRequest } from '../http/problems.ts';

/**
 * `metadata=` of a list: after the URL was decoded it is a form whose names and values are encoded once more
 * (`a b` is `a%252520b` on the wire).
 */
export function parseMetadata(text: string | undefined): Record<string, string> {
  const found: Record<string, string> = Object.create(null);
  for (const pair of (text ?? '').split('&')) {
    if (pair === '') continue;
    const [name = '', ...rest] = pair.split('=');
    found[decodeTwice(name)] = decodeTwice(rest.join('='));
  }
  return { ...found };
}

function decodeTwice(raw: string): string {
  try {
    return decodeURIComponent(decodeURIComponent(raw.replaceAll('+', ' ')));
  } catch {
    throw badRequest('metadata: has a broken percent escape');
  }
}
