import type { CredentialsRenewed, CredentialsRevoked, HostHeartbeat, HostRegistered } from '@wrenn/actors';
import { queryOne } from '@wrenn/core';
import { z } from 'zod';
import { recordAudit } from '../audit/record.ts';
import { notFound } from '../http/problems.ts';
import { type Routes, route } from '../http/route.ts';
import { id } from '../http/schemas.ts';
import type { Services } from '../services.ts';
import { inTransaction } from '../transaction.ts';
import {
  type Issued,
  invalidToken,
  refreshCredentials,
  registerCredentials,
  revokeCredentials,
  type TokenUse,
} from './credentials.ts';
import { credentials, heartbeat, registration } from './schemas.ts';

const tag = 'Host agents';

/** API8 for agents: register once, renew in time, say every 30 s that one is there (H1, H2, H4). */
export const agentRoutes: Routes = [
  route({
    method: 'POST',
    path: '/v1/hosts/register',
    auth: ['-'],
    tag,
    summary: 'Register a host with its one-time token',
    description:
      'Of two registrations with one token exactly one wins; the other is 401. With an `Idempotency-Key` the same host may ' +
      'ask again when the answer was lost, while the token would have been good and the credentials were not renewed.',
    body: registration,
    responses: { 200: { description: 'For host-credentials.json', schema: credentials } },
    handler: async ({ body, headers }, services) => {
      const { registrationTokens } = services;
      const key = headers.get('idempotency-key') || null;
      const hostId = await registrationTokens.use(body.token, key);
      if (hostId === null) throw invalidToken();
      try {
        const { answer, facts } = await register(services, hostId, key === null ? null : { token: body.token, key });
        const { address, specs, store_id = null } = body;
        const event: HostRegistered = { type: 'REGISTERED', address, specs, credentials: facts, store_id };
        await services.runtime.tell({ kind: 'host', id: hostId }, event, { cause: { type: 'host', id: hostId } });
        return { status: 200, body: answer };
      } catch (error) {
        if (key === null) await registrationTokens.putBack(body.token, hostId);
        throw error;
      }
    },
  }),
  route({
    method: 'POST',
    path: '/v1/hosts/auth/refresh',
    auth: ['-'],
    tag,
    summary: "Renew a host's credentials",
    description:
      'The refresh token sent is no longer good after this. With an `Idempotency-Key` the same renewal may be asked again ' +
      'for ten minutes, when its answer was lost.',
    body: z.strictObject({ refresh_token: z.string().max(200) }),
    responses: { 200: { description: 'The same shape as of a registration', schema: credentials } },
    handler: async ({ body, headers }, services) => {
      const { sql, tokens, config, runtime } = services;
      const retryKey = headers.get('idempotency-key') ?? null;
      const refreshed = await inTransaction(sql, async (tx) => {
        const result = await refreshCredentials(tx, tokens, config.JWT_SECRET, body.refresh_token, retryKey);
        if (result.outcome === 'reused') {
          await revokeCredentials(tx, result.hostId);
          await recordAudit(tx, {
            teamId: null,
            scope: 'admin',
            cause: { type: 'host', id: result.hostId },
            resourceType: 'host',
            resourceId: result.hostId,
            action: 'host.credentials_reused',
            status: 'warning',
          });
        }
        return result; // committed also when it was reuse: that is what revokes
      });
      const ref = { kind: 'host', id: refreshed.hostId };
      const cause = { type: 'host', id: refreshed.hostId } as const;
      if (refreshed.outcome === 'reused') {
        const event: CredentialsRevoked = { type: 'CREDENTIALS_REVOKED' };
        await runtime.tell(ref, event, { cause });
        throw invalidToken();
      }
      const event: CredentialsRenewed = { type: 'CREDENTIALS_RENEWED', credentials: refreshed.issued.facts };
      await runtime.tell(ref, event, { cause });
      return { status: 200, body: refreshed.issued.answer };
    },
  }),
  route({
    method: 'POST',
    path: '/v1/hosts/{id}/heartbeat',
    auth: ['H'],
    tag,
    summary: 'The host is there',
    params: z.strictObject({ id: id('host') }),
    body: heartbeat,
    responses: { 200: { description: 'Heard', schema: z.object({ ok: z.literal(true) }) } },
    handler: async ({ auth, params, body }, { runtime, heartbeats }) => {
      if (params.id !== auth.hostId) throw notFound('No such host.');
      if (heartbeats.isNews(auth.hostId, { ...body, at: performance.now() })) {
        const event: HostHeartbeat = { type: 'HEARTBEAT', ...body };
        await runtime.tell({ kind: 'host', id: auth.hostId }, event, { cause: auth.cause });
      }
      return { status: 200, body: { ok: true } };
    },
  }),
];

/** `use`: what a repetition is known by, or null where there is to be none. Two of them go one after the other. */
function register({ sql, tokens, config }: Services, hostId: string, use: TokenUse | null): Promise<Issued> {
  return inTransaction(sql, async (tx) => {
    const known = `select id from hosts where id = $1 and status <> 'deleted' for update`;
    if (!(await queryOne(tx, z.object({ id: z.string() }), known, [hostId]))) throw invalidToken();
    return await registerCredentials(tx, tokens, config.JWT_SECRET, hostId, use);
  });
}
