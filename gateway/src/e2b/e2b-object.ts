import type { E2bRow } from './e2b-row.ts';

/** Version that envd says it is: all that the SDKs ask for by version is there (docs/e2b.md). */
export const ENVD_VERSION = '0.6.13';
/** Deprecated, and still required by clients. */
const CLIENT_ID = 'wrenn';

export type E2bState = 'running' | 'paused';

/** Our statuses behind each of E2B's two. */
export const STATUSES: Readonly<Record<E2bState, readonly string[]>> = {
  running: ['pending', 'starting', 'running', 'pausing', 'missing'],
  paused: ['paused', 'resuming'],
};

export function stateOf(status: string): E2bState {
  return STATUSES.paused.includes(status) ? 'paused' : 'running';
}

/** A sandbox without an end has one far away: clients want a time. */
const NO_END = new Date('9999-12-31T23:59:59.000Z');

function names(row: E2bRow) {
  return {
    sandboxID: row.id,
    templateID: row.template,
    alias: row.asked_template ?? row.template,
    clientID: CLIENT_ID,
    envdVersion: ENVD_VERSION,
  };
}

function isPublic(row: E2bRow): boolean {
  return row.network.allowPublicTraffic ?? row.public_ports === 'all';
}

/** What create, connect, resume and fork answer. */
export function sandboxObject(row: E2bRow, domain: string) {
  return {
    ...names(row),
    envdAccessToken: row.access_token,
    trafficAccessToken: isPublic(row) ? null : row.traffic_token,
    domain,
  };
}

/** One of a list. */
export function listedSandbox(row: E2bRow) {
  return {
    ...names(row),
    startedAt: (row.started_at ?? row.created_at).toISOString(),
    endAt: endAt(row).toISOString(),
    state: stateOf(row.status),
    cpuCount: row.vcpus,
    memoryMB: row.memory_mb,
    diskSizeMB: row.disk_size_mb,
    metadata: row.metadata,
    volumeMounts: [],
  };
}

export function sandboxDetail(row: E2bRow, domain: string) {
  const { allowOut, denyOut, rules, maskRequestHost } = row.network;
  return {
    ...listedSandbox(row),
    envdAccessToken: row.access_token,
    domain,
    allowInternetAccess: row.allow_internet,
    network: {
      ...(allowOut && { allowOut }),
      ...(denyOut && { denyOut }),
      ...(rules && { rules }),
      ...(maskRequestHost && { maskRequestHost }),
      allowPublicTraffic: isPublic(row),
    },
    lifecycle: { onTimeout: row.on_end === 'pause' ? 'pause' : 'kill', autoResume: row.auto_resume },
  };
}

/** The end of a paused sandbox is when it was paused. */
function endAt(row: E2bRow): Date {
  return row.status === 'paused' ? row.status_since : (row.ends_at ?? NO_END);
}
