import { auditRoutes } from './audit/audit-routes.ts';
import { consoleRoutes } from './console/console-routes.ts';
import { e2bRoutes } from './e2b/e2b-routes.ts';
import { execRoutes } from './guest/exec-routes.ts';
import { fileRoutes } from './guest/file-routes.ts';
import { processSocketRoutes } from './guest/socket-routes.ts';
import { healthRoutes } from './health-routes.ts';
import { agentRoutes } from './hosts/agent-routes.ts';
import { hostRoutes } from './hosts/host-routes.ts';
import type { Routes } from './http/route.ts';
import { createServer, type Server } from './http/server.ts';
import { authRoutes } from './identity/auth-routes.ts';
import { authorise } from './identity/authorise.ts';
import { keyRoutes } from './identity/key-routes.ts';
import { teamRoutes } from './identity/team-routes.ts';
import { actorRoutes } from './inspector/actor-routes.ts';
import { feedRoutes } from './inspector/feed-route.ts';
import { journalRoutes } from './inspector/journal-routes.ts';
import { statelyRoutes } from './inspector/stately-route.ts';
import { prometheusRoutes } from './metrics/prometheus-route.ts';
import { sandboxMetricsRoutes } from './metrics/sandbox-metrics-routes.ts';
import { statsRoutes } from './metrics/stats-routes.ts';
import { docsRoutes } from './openapi/docs-routes.ts';
import { linkRoutes } from './proxy/link-routes.ts';
import { SandboxProxy } from './proxy/proxy.ts';
import { sandboxRestRoutes } from './sandboxes/sandbox-rest.ts';
import type { Services } from './services.ts';
import { snapshotRoutes } from './snapshots/snapshot-routes.ts';
import { templateRoutes } from './templates/template-routes.ts';

/** Every route of the API, module by module: what is in this list is served and documented. */
export const apiRoutes: Routes = [
  ...healthRoutes,
  ...prometheusRoutes,
  ...authRoutes,
  ...teamRoutes,
  ...keyRoutes,
  ...templateRoutes,
  ...snapshotRoutes,
  ...sandboxRestRoutes,
  ...linkRoutes,
  ...statsRoutes,
  ...sandboxMetricsRoutes,
  ...execRoutes,
  ...processSocketRoutes,
  ...fileRoutes,
  ...actorRoutes,
  ...journalRoutes,
  ...statelyRoutes,
  ...feedRoutes,
  ...hostRoutes,
  ...agentRoutes,
  ...auditRoutes,
];

/** The control plane's server. */
export function createApp(services: Services): Server {
  return createServer(
    [...apiRoutes, ...e2bRoutes, ...docsRoutes(apiRoutes), ...consoleRoutes()],
    authorise,
    services,
    new SandboxProxy(services),
  );
}
