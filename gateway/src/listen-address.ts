/** `127.0.0.1:8080` or `[::1]:8080` as its parts. The settings have checked the shape. */
export function parseListenAddress(text: string): { address: string; port: number } {
  const colon = text.lastIndexOf(':');
  return { address: text.slice(0, colon).replace(/^\[(.*)\]$/, '$1'), port: Number(text.slice(colon + 1)) };
}
