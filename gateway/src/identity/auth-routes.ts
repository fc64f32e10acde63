import { z } from 'zod';
import { notFound } from '../http/problems.ts';
import { type Routes, route } from '../http/route.ts';
import { id, line } from '../http/schemas.ts';
import type { Services } from '../services.ts';
import { email, password, signedIn, teamJson, userJson } from './schemas.ts';
import { checkPassword, landingTeam, openSession, revokeSession, type SignedIn } from './sessions.ts';
import { signUp } from './signup.ts';
import { findTeam } from './teams.ts';
import { readUser } from './users.ts';

const tag = 'Identity';

/** API6: sign up, sign in, sign out, change the team. */
export const authRoutes: Routes = [
  route({
    method: 'POST',
    path: '/v1/auth/signup',
    auth: ['-'],
    tag,
    summary: 'Make an account and its team',
    description: 'The first account of an installation is platform admin.',
    body: z.strictObject({ email, password, name: line(100).optional() }),
    responses: { 201: { description: 'Signed in', schema: signedIn } },
    handler: async ({ body }, services) => {
      const { userId, teamId } = await signUp(services.sql, body);
      const session = await openSession(services.sql, services.tokens, userId, teamId);
      return { status: 201, body: await signedInJson(services, session, userId, teamId) };
    },
  }),
  route({
    method: 'POST',
    path: '/v1/auth/login',
    auth: ['-'],
    tag,
    summary: 'Sign in',
    body: z.strictObject({ email: z.string().max(254), password: z.string().max(1_024) }),
    responses: { 200: { description: 'Signed in', schema: signedIn } },
    handler: async ({ body, remoteAddress }, services) => {
      const { sql, tokens, loginLimits } = services;
      await loginLimits.take(body.email, remoteAddress);
      const userId = await checkPassword(sql, body.email, body.password);
      await loginLimits.succeeded(body.email, remoteAddress);
      const teamId = await landingTeam(sql, userId);
      const session = await openSession(sql, tokens, userId, teamId);
      return { status: 200, body: await signedInJson(services, session, userId, teamId) };
    },
  }),
  route({
    method: 'POST',
    path: '/v1/auth/logout',
    auth: ['J'],
    tag,
    summary: 'Sign out: the session and all its tokens end',
    responses: { 204: { description: 'Signed out' } },
    handler: async ({ auth }, { sql }) => {
      await revokeSession(sql, auth.sessionId);
      return { status: 204 };
    },
  }),
  route({
    method: 'POST',
    path: '/v1/auth/switch-team',
    auth: ['J'],
    tag,
    summary: 'A token for another team of yours',
    body: z.strictObject({ team_id: id('team') }),
    responses: { 200: { description: 'A token of a session of its own', schema: signedIn } },
    handler: async ({ auth, body }, services) => {
      const { sql, tokens } = services;
      if (!(await findTeam(sql, auth.userId, body.team_id))) throw notFound('No such team.');
      const session = await openSession(sql, tokens, auth.userId, body.team_id);
      return { status: 200, body: await signedInJson(services, session, auth.userId, body.team_id) };
    },
  }),
];

async function signedInJson({ sql }: Services, session: SignedIn, userId: string, teamId: string) {
  const [user, team] = await Promise.all([readUser(sql, userId), findTeam(sql, userId, teamId)]);
  if (!team) throw notFound('No such team.');
  return {
    token: session.token,
    expires_at: session.expiresAt.toISOString(),
    user: userJson(user),
    team: teamJson(team),
  };
}
