import type { Routes } from '../http/route.ts';
import { e2bAbsentRoutes } from './absent-routes.ts';
import { e2bMetricsRoutes } from './metrics-routes.ts';
import { e2bSandboxRoutes } from './sandbox-routes.ts';
import { e2bSnapshotRoutes } from './snapshot-routes.ts';

/**
 * E2B's API for its unmodified SDKs (X1), at the root of every host name that is not a sandbox's. It is no part of our own
 * document: its contract is its own.
 */
export const e2bRoutes: Routes = [...e2bSandboxRoutes, ...e2bSnapshotRoutes, ...e2bMetricsRoutes, ...e2bAbsentRoutes];
