import { WrennError } from '@wrenn/core';
import type { KeyAuth } from '../http/auth.ts';
import { badRequest } from '../http/problems.ts';
import { patchSandbox } from '../sandboxes/change-sandbox.ts';
import { createBody, createSandbox } from '../sandboxes/create-sandbox.ts';
import { noSuchSandbox } from '../sandboxes/sandbox-errors.ts';
import { newSandboxId } from '../sandboxes/sandbox-id.ts';
import type { Services } from '../services.ts';
import { notServed } from './e2b-error.ts';
import { type E2bRow, findE2b, insertFacts } from './e2b-row.ts';
import { egressOf } from './egress.ts';
import type { Network, NewSandbox } from './fields.ts';
import { findTemplateByE2bName } from './template-name.ts';

/** A start may take so long; a sandbox whose maker died in mid-create ends by itself after it. */
const START_ALLOWANCE_SEC = 180;

/** Makes the sandbox; resolves with it when it runs. Its time counts from then on. */
export async function createE2b(
  services: Services,
  auth: KeyAuth,
  body: NewSandbox,
  signal: AbortSignal,
): Promise<E2bRow> {
  checkServed(body);
  const { teamId, cause } = auth;
  const template = await findTemplateByE2bName(services.sql, teamId, body.templateID);
  if (!template) throw new WrennError('template_not_found', `template '${body.templateID}' not found`);
  const network: Network = body.network ?? {};
  const allowInternet = body.allow_internet_access ?? null;
  const id = newSandboxId();
  await insertFacts(services.sql, {
    sandboxId: id,
    teamId,
    metadata: body.metadata ?? {},
    template: body.templateID,
    network: { ...network, egressProxy: undefined },
    allowInternet,
  });
  const create = createBody.parse({
    template: template.name,
    ends_at: endsAt(body.timeout + START_ALLOWANCE_SEC),
    on_end: body.autoPause === true ? 'pause' : 'kill',
    envs: body.envVars ?? {},
    public_ports: network.allowPublicTraffic === false ? [] : 'all',
    auto_resume: body.autoResume?.enabled === true,
    egress: egressOf(network, allowInternet),
  });
  await createSandbox(services, auth, create, { wait: true, idempotencyKey: null, signal, id });
  await patchSandbox(services, { id, teamId, cause, signal }, { ends_at: endsAt(body.timeout) });
  return mustFindE2b(services, teamId, id);
}

/** RFC 3339, so many seconds from now. */
export function endsAt(seconds: number): string {
  return new Date(Date.now() + seconds * 1_000).toISOString();
}

export async function mustFindE2b({ sql }: Services, teamId: string, id: string): Promise<E2bRow> {
  const row = await findE2b(sql, teamId, id);
  if (!row) throw noSuchSandbox();
  return row;
}

/** What it asks for and is not here is refused, never passed over. */
function checkServed(body: NewSandbox): void {
  if (body.autoPauseMemory === false) {
    if (body.autoPause !== true) throw badRequest('autoPauseMemory: false needs autoPause');
    if (body.autoResume?.enabled === true) throw badRequest('autoPauseMemory: false excludes autoResume');
    throw notServed('Pausing without memory is');
  }
  if (body.volumeMounts && body.volumeMounts.length > 0) throw notServed('Volumes are');
  if (Object.keys(body.iam?.tokens ?? {}).length > 0) throw notServed('Workload identity tokens are');
}
