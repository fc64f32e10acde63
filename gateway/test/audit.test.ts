import { afterAll, beforeAll, expect, test } from 'vitest';
import { call, signUp, startGateway, type TestGateway } from './gateway.ts';

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway();
});
afterAll(() => gateway.close());

const insert = (teamId: string, rows: [action: string, type: string, status: string, scope: string, at: string][]) =>
  Promise.all(
    rows.map(([action, type, status, scope, at]) =>
      gateway.services.sql.query(
        `insert into audit_logs (at, team_id, scope, actor_type, action, resource_type, status)
         values ($1, $2, $3, 'system', $4, $5, $6)`,
        [at, teamId, scope, action, type, status],
      ),
    ),
  );
async function allPages(token: string, query: string) {
  const seen: { id: string; action: string }[] = [];
  let cursor: string | null = '';
  while (cursor !== null) {
    const answer = await call(gateway, 'GET', `/v1/audit-logs?${query}${cursor && `&cursor=${cursor}`}`, { token });
    expect(answer.status).toBe(200);
    seen.push(...answer.body.items);
    cursor = answer.body.next_cursor;
  }
  return seen;
}

test('AUD1: pages are stable within one timestamp, filters take several values, members see less', async () => {
  const person = await signUp(gateway);
  const other = await signUp(gateway);
  const one = '2026-01-01T00:00:00.000123Z';
  await insert(person.teamId, [
    ...Array.from({ length: 7 }, (): [string, string, string, string, string] => [
      'sandbox.create',
      'sandbox',
      'success',
      'team',
      one,
    ]),
    ['key.revoke', 'api_key', 'warning', 'team', one],
    ['member.role', 'member', 'info', 'admin', one],
  ]);
  await insert(other.teamId, [['sandbox.create', 'sandbox', 'success', 'team', one]]);
  const all = await allPages(person.token, 'limit=2');
  expect(all).toHaveLength(10); // with the team's own creation
  expect(new Set(all.map(({ id }) => id)).size).toBe(10);
  expect(await allPages(person.token, 'action=key.revoke,member.role')).toHaveLength(2);
  expect(await allPages(person.token, 'action=key.revoke&action=member.role')).toHaveLength(2);
  expect(await allPages(person.token, 'resource_type=sandbox&status=success')).toHaveLength(7);
  expect(await allPages(person.token, 'resource_type=sandbox&status=error')).toHaveLength(0);
  await gateway.services.sql.query(`update team_members set role = 'member' where team_id = $1`, [person.teamId]);
  expect(await allPages(person.token, 'limit=200')).toHaveLength(9);
  for (const bad of ['limit=201', 'status=bad', 'cursor=abc', 'cursor=WyJhIiwiYiJd', 'colour=red']) {
    expect((await call(gateway, 'GET', `/v1/audit-logs?${bad}`, { token: person.token })).status).toBe(400);
  }
});
