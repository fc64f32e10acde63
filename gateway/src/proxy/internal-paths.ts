/** What envd serves for its host alone; the first segments, as a server might read them. */
const INTERNAL = new Set(['init', 'wrenn', 'freeze', 'unfreeze', 'fsfreeze', 'fsthaw', 'collapse', 'upgrade']);

/** Whether a path, however it is written, leads to an internal route of the guest's agent. Pure. */
export function isInternal(target: string): boolean {
  const path = target.split(/[?#]/, 1)[0] ?? '';
  let text = path;
  // A path that is decoded more than once on its way must not become one of them.
  for (let round = 0; round < 3 && text.includes('%'); round += 1) {
    const decoded = decodeOnce(text);
    if (decoded === text) break;
    text = decoded;
  }
  const segments: string[] = [];
  for (const segment of text.replaceAll('\\', '/').split('/')) {
    if (segment === '' || segment === '.') continue;
    if (segment === '..') segments.pop();
    else segments.push(segment.split(';', 1)[0]?.toLowerCase() ?? '');
  }
  return INTERNAL.has(segments[0] ?? '');
}

function decodeOnce(text: string): string {
  return text.replace(/%([0-9a-fA-F]{2})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));
}
