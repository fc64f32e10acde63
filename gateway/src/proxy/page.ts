import { STATUS_CODES } from 'node:http';
import type { WrennError } from '@wrenn/core';

/** What a person sees instead of the sandbox's own page: no script, nothing from elsewhere. */
export function unavailablePage(status: number, error: WrennError): string {
  const title = STATUS_CODES[status] ?? 'Not available';
  const details = Object.entries(asObject(error.details))
    .filter(([, value]) => typeof value === 'string' || typeof value === 'number')
    .map(
      ([name, value]) => `<tr><th>${escaped(name.replaceAll('_', ' '))}</th><td>${escaped(String(value))}</td></tr>`,
    );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${status} ${escaped(title)}</title>
<style>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 36rem; margin: 18vh auto 0; padding: 0 1.5rem; }
h1 { font-size: 1.25rem; }
th { text-align: left; font-weight: normal; opacity: .7; padding-right: 1.5rem; }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
</style>
</head>
<body>
<main>
<h1>${status} ${escaped(title)}</h1>
<p>${escaped(error.message)}</p>
${details.length > 0 ? `<table>${details.join('')}</table>` : ''}
</main>
</body>
</html>
`;
}

function asObject(details: unknown): Record<string, unknown> {
  return details !== null && typeof details === 'object' ? (details as Record<string, unknown>) : {};
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
