import { inspect } from 'node:util';

/** Objects with this method say themselves how they are shown: it gives a media bundle, or a promise of one. */
const DISPLAY = Symbol.for('Jupyter.display');
const MEDIA_TYPES = {
  html: 'text/html',
  markdown: 'text/markdown',
  latex: 'text/latex',
  svg: 'image/svg+xml',
  png: 'image/png',
  jpeg: 'image/jpeg',
  pdf: 'application/pdf',
  json: 'application/json',
  javascript: 'application/javascript',
};

/** How a value is shown. */
export async function mimeBundle(value) {
  const own = typeof value?.[DISPLAY] === 'function' ? await value[DISPLAY]() : undefined;
  return own !== null && typeof own === 'object' ? own : { 'text/plain': inspect(value) };
}

/** The global `display(value)`, and `display.html(text)`, `display.png(base64 or bytes)` and so on. */
export function installDisplay(show) {
  const display = async (value) => show(await mimeBundle(value));
  for (const [name, type] of Object.entries(MEDIA_TYPES)) {
    display[name] = (data) =>
      show({ [type]: data instanceof Uint8Array ? Buffer.from(data).toString('base64') : data });
  }
  Object.defineProperty(globalThis, 'display', { value: display, writable: true, configurable: true });
}
