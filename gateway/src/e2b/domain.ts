/**
 * The domain that a client builds host names of sandboxes with: the one by which it reached the API (`api.{domain}`), so
 * that a front proxy may have names of its own; else the configured one.
 */
export function domainFor(host: string | undefined, configured: string): string {
  const name = (host ?? '').toLowerCase();
  const domain = name.startsWith('api.') ? name.slice('api.'.length) : '';
  return /^[a-z0-9.-]+(:\d+)?$/.test(domain) ? domain : configured;
}
