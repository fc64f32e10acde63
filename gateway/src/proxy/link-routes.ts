import { z } from 'zod';
import { type Routes, route } from '../http/route.ts';
import { noSuchSandbox } from '../sandboxes/sandbox-errors.ts';
import { sandboxId } from '../sandboxes/sandbox-id.ts';
import { GUEST_AGENT_PORT } from './address.ts';
import { linkQuery, sign } from './signed-link.ts';

const DAY_SEC = 86_400;
const MAX_LIFE_SEC = 7 * DAY_SEC;

const body = z
  .strictObject({
    port: z
      .int()
      .min(1, 'must be from 1 to 65535')
      .max(65_535, 'must be from 1 to 65535')
      .refine((port) => port !== GUEST_AGENT_PORT, `${GUEST_AGENT_PORT} is the guest agent's`),
    path: z
      .string()
      .max(2_048)
      .regex(/^\/[\x21-\x7e]*$/, 'must begin with a slash and be encoded as in a URL')
      .default('/'),
    expires_in_sec: z
      .int()
      .min(1, `must be from 1 to ${MAX_LIFE_SEC}`)
      .max(MAX_LIFE_SEC, `must be from 1 to ${MAX_LIFE_SEC}`)
      .default(3_600),
  })
  .meta({ id: 'CreateLink' });

const link = z.object({ url: z.url(), expires_at: z.iso.datetime() }).meta({ id: 'Link' });

/** Links that open one port of one sandbox for a while, for whoever has them (PX1). */
export const linkRoutes: Routes = [
  route({
    method: 'POST',
    path: '/v1/sandboxes/{id}/links',
    auth: ['K', 'J'],
    tag: 'Sandboxes',
    summary: 'Make a link to a port of a sandbox',
    description:
      'Whoever opens it may use that port until it expires: the first answer sets a cookie for the host name. Nothing is ' +
      'stored; it can be taken back only by destroying the sandbox.',
    params: z.strictObject({ id: sandboxId }),
    body,
    responses: { 201: { description: 'The link', schema: link } },
    handler: async ({ auth, params: { id }, body: { port, path, expires_in_sec } }, { sandboxRoutes, config }) => {
      const sandbox = await sandboxRoutes.get(id);
      if (sandbox?.teamId !== auth.teamId || sandbox.status === 'stopped') throw noSuchSandbox();
      const expires = Math.floor(Date.now() / 1_000) + expires_in_sec;
      const query = linkQuery({ expires, signature: sign(sandbox.trafficToken, id, port, expires) });
      const secure = config.WRENN_TLS_LISTEN !== undefined || config.CP_PUBLIC_URL?.startsWith('https:') === true;
      const base = `${secure ? 'https' : 'http'}://${port}-${id}.${config.WRENN_DOMAIN}`;
      const [before, fragment] = path.split('#', 2);
      const url = `${base}${before}${before?.includes('?') ? '&' : '?'}${query}${fragment === undefined ? '' : `#${fragment}`}`;
      return { status: 201, body: { url, expires_at: new Date(expires * 1_000).toISOString() } };
    },
  }),
];
