import { METRICS_CONTENT_TYPE, metricsText } from '@wrenn/core';
import { unauthorized } from '../http/problems.ts';
import { type Routes, route } from '../http/route.ts';
import { fleetMetrics } from './fleet-metrics.ts';

/**
 * MET2: `/metrics` for Prometheus. Whoever is on this machine may read it, as long as no proxy stands between; from
 * elsewhere a platform admin.
 */
export const prometheusRoutes: Routes = [
  route({
    method: 'GET',
    path: '/metrics',
    auth: ['A', '-'],
    tag: 'Meta',
    summary: "This replica's metrics and the fleet's, in Prometheus' text format",
    description: 'Without credentials from loopback only, and not through a proxy.',
    responses: { 200: { description: 'Text format 0.0.4', contentType: 'text/plain' } },
    handler: async ({ auth, remoteAddress, headers }, services) => {
      if (auth === null && !isLocal(remoteAddress, headers)) {
        throw unauthorized('Ask from this machine, or as a platform admin.');
      }
      const families = [...(await fleetMetrics(services)), ...services.processMetrics.families()];
      return { status: 200, headers: { 'content-type': METRICS_CONTENT_TYPE }, bytes: metricsText(families) };
    },
  }),
];

/** A proxy on this machine is loopback too, but says for whom it asks. */
function isLocal(address: string, headers: ReadonlyMap<string, string>): boolean {
  const loopback = /^(127\.\d+\.\d+\.\d+|::1|::ffff:127\.\d+\.\d+\.\d+)$/.test(expand(address));
  return loopback && !['forwarded', 'x-forwarded-for', 'x-real-ip', 'via'].some((name) => headers.has(name));
}

/** The server writes IPv6 addresses in full. */
function expand(address: string): string {
  if (/^(0000:){7}0001$/.test(address)) return '::1';
  const mapped = /^(?:0000:){5}ffff:7f([0-9a-f]{2}):([0-9a-f]{2})([0-9a-f]{2})$/.exec(address);
  return mapped ? '127.0.0.1' : address;
}
