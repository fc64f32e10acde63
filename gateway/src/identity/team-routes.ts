import { z } from 'zod';
import { recordAudit } from '../audit/record.ts';
import { forbidden, notFound } from '../http/problems.ts';
import { type Routes, route } from '../http/route.ts';
import { id } from '../http/schemas.ts';
import { inTransaction } from '../transaction.ts';
import { member, team, teamJson, teamName, user, userJson } from './schemas.ts';
import { findTeam, insertTeam, listMembers, listTeams, renameTeam, type TeamRow } from './teams.ts';
import { readUser } from './users.ts';

const tag = 'Teams';
const params = z.strictObject({ id: id('team') });

/** API7: who I am, my teams (ID5 without invitations and roles). */
export const teamRoutes: Routes = [
  route({
    method: 'GET',
    path: '/v1/me',
    auth: ['J'],
    tag,
    summary: 'Who I am, in which team',
    responses: {
      200: {
        description: 'Fresh from the database',
        schema: z.object({ user, team, teams: z.array(team) }).meta({ id: 'Me' }),
      },
    },
    handler: async ({ auth }, { sql }) => {
      const [me, teams] = await Promise.all([readUser(sql, auth.userId), listTeams(sql, auth.userId)]);
      const current = teams.find(({ id }) => id === auth.teamId);
      if (!current) throw notFound('No such team.');
      return { status: 200, body: { user: userJson(me), team: teamJson(current), teams: teams.map(teamJson) } };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/teams',
    auth: ['J'],
    tag,
    summary: 'My teams',
    responses: { 200: { description: 'All of them', schema: z.object({ items: z.array(team) }) } },
    handler: async ({ auth }, { sql }) => {
      const teams = await listTeams(sql, auth.userId);
      return { status: 200, body: { items: teams.map(teamJson) } };
    },
  }),
  route({
    method: 'POST',
    path: '/v1/teams',
    auth: ['J'],
    tag,
    summary: 'Make a team; you own it',
    body: z.strictObject({ name: teamName }),
    responses: { 201: { description: 'Made', schema: team } },
    handler: async ({ auth, body }, { sql }) => {
      const made = await inTransaction(sql, async (tx) => {
        const teamId = await insertTeam(tx, auth.userId, body.name);
        await recordAudit(tx, {
          teamId,
          scope: 'team',
          cause: auth.cause,
          resourceType: 'team',
          resourceId: teamId,
          action: 'team.create',
          status: 'success',
          metadata: { name: body.name },
        });
        return await findTeam(tx, auth.userId, teamId);
      });
      return { status: 201, body: teamJson(made as TeamRow) };
    },
  }),
  route({
    method: 'PATCH',
    path: '/v1/teams/{id}',
    auth: ['J'],
    tag,
    summary: 'Rename a team',
    params,
    body: z.strictObject({ name: teamName }),
    responses: { 200: { description: 'Renamed', schema: team } },
    handler: async ({ auth, params, body }, { sql }) => {
      const renamed = await inTransaction(sql, async (tx) => {
        const before = await findTeam(tx, auth.userId, params.id);
        if (!before) throw notFound('No such team.');
        if (before.role === 'member') throw forbidden('Only owners and admins may rename a team.');
        await renameTeam(tx, before.id, body.name);
        await recordAudit(tx, {
          teamId: before.id,
          scope: 'team',
          cause: auth.cause,
          resourceType: 'team',
          resourceId: before.id,
          action: 'team.rename',
          status: 'success',
          metadata: { from: before.name, to: body.name },
        });
        return { ...before, name: body.name };
      });
      return { status: 200, body: teamJson(renamed) };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/teams/{id}/members',
    auth: ['J'],
    tag,
    summary: 'Members of a team of yours',
    params,
    responses: { 200: { description: 'All of them', schema: z.object({ items: z.array(member) }) } },
    handler: async ({ auth, params }, { sql }) => {
      if (!(await findTeam(sql, auth.userId, params.id))) throw notFound('No such team.');
      const members = await listMembers(sql, params.id);
      const items = members.map(({ created_at, ...row }) => ({ ...row, joined_at: created_at.toISOString() }));
      return { status: 200, body: { items } };
    },
  }),
];
