import { SignJWT } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sha256 } from '../src/identity/api-key.ts';
import { call, JWT_SECRET, signUp, startGateway, type TestGateway } from './gateway.ts';

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway();
});
afterAll(() => gateway.close());

describe('ID1: sign up and sign in', () => {
  test('of many first sign-ups at once exactly one becomes platform admin', async () => {
    const people = await Promise.all(Array.from({ length: 8 }, () => signUp(gateway)));
    expect(people.filter(({ isAdmin }) => isAdmin)).toHaveLength(1);
  });

  test('one mail is one account, whatever its case, also in a race', async () => {
    const answers = await Promise.all(
      ['Race@example.com', 'race@example.com', 'RACE@example.com'].map((email) =>
        call(gateway, 'POST', '/v1/auth/signup', { body: { email, password: 'long enough' } }),
      ),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 409, 409]);
    expect(answers.find(({ status }) => status === 409)?.body.error.code).toBe('email_taken');
    const { rows } = await gateway.services.sql.query(
      `select count(*)::int as teams from teams where name = 'race''s team' or name = 'Race''s team' or name = 'RACE''s team'`,
    );
    expect(rows[0].teams).toBe(1); // the losers' transactions left nothing behind
  });

  test('wrong mail and wrong password read the same', async () => {
    const { email } = await signUp(gateway);
    const wrongPassword = await call(gateway, 'POST', '/v1/auth/login', { body: { email, password: 'not this one' } });
    const wrongMail = await call(gateway, 'POST', '/v1/auth/login', {
      body: { email: 'nobody@example.com', password: 'not this one' },
    });
    expect(wrongPassword.status).toBe(401);
    expect(wrongMail.status).toBe(401);
    expect(wrongMail.body).toEqual(wrongPassword.body);
  });

  test('the password is stored as argon2id', async () => {
    const { userId } = await signUp(gateway);
    const { rows } = await gateway.services.sql.query('select password_hash from users where id = $1', [userId]);
    expect(rows[0].password_hash).toMatch(/^\$argon2id\$/);
  });

  test.each([
    [{ email: 'a@example.com', password: 'short' }, 'password'],
    [{ email: 'no mail', password: 'long enough' }, 'email'],
    [{ email: 'a@example.com', password: 'long enough', admin: true }, 'admin'],
    [{ password: 'long enough' }, 'email'],
    [{ email: 5, password: 'long enough' }, 'email'],
  ])('a bad sign-up names the field: %j', async (body, field) => {
    const answer = await call(gateway, 'POST', '/v1/auth/signup', { body });
    expect(answer.status).toBe(400);
    expect(answer.body.error.details.fields[0].field).toBe(field);
    expect(answer.body.error.message).toContain(field);
  });

  test('guessing is rate-limited, and another account from the same address is not', async () => {
    const victim = await signUp(gateway, 'victim');
    const guess = () =>
      call(gateway, 'POST', '/v1/auth/login', { body: { email: victim.email, password: 'a wrong guess' } });
    const statuses: number[] = [];
    for (let i = 0; i < 12; i += 1) statuses.push((await guess()).status);
    expect(statuses.slice(0, 10)).toEqual(Array(10).fill(401));
    expect(statuses.slice(10)).toEqual([429, 429]);
    const limited = await guess();
    expect(limited.body.error.code).toBe('rate_limited');
    expect(Number(limited.headers.get('retry-after'))).toBeGreaterThan(0);
    const other = await signUp(gateway);
    const fine = await call(gateway, 'POST', '/v1/auth/login', {
      body: { email: other.email, password: 'long enough' },
    });
    expect(fine.status).toBe(200);
  });
});

describe('ID2: tokens and sessions', () => {
  test('log out ends the session, not the others', async () => {
    const person = await signUp(gateway);
    const second = await call(gateway, 'POST', '/v1/auth/login', {
      body: { email: person.email, password: 'long enough' },
    });
    expect((await call(gateway, 'POST', '/v1/auth/logout', { token: person.token })).status).toBe(204);
    expect((await call(gateway, 'GET', '/v1/me', { token: person.token })).status).toBe(401);
    expect((await call(gateway, 'GET', '/v1/me', { token: second.body.token })).status).toBe(200);
  });

  test('role and membership are read at each request: a removed member is out at once', async () => {
    const owner = await signUp(gateway);
    const guest = await signUp(gateway);
    const { sql } = gateway.services;
    await sql.query(`insert into team_members (team_id, user_id, role) values ($1, $2, 'member')`, [
      owner.teamId,
      guest.userId,
    ]);
    const switched = await call(gateway, 'POST', '/v1/auth/switch-team', {
      token: guest.token,
      body: { team_id: owner.teamId },
    });
    expect(switched.status).toBe(200);
    const token = switched.body.token;
    expect((await call(gateway, 'GET', '/v1/me', { token })).body.team).toMatchObject({
      id: owner.teamId,
      role: 'member',
    });
    const rename = () => call(gateway, 'PATCH', `/v1/teams/${owner.teamId}`, { token, body: { name: 'Warblers' } });
    expect((await rename()).status).toBe(403);
    await sql.query(`update team_members set role = 'admin' where team_id = $1 and user_id = $2`, [
      owner.teamId,
      guest.userId,
    ]);
    expect((await rename()).status).toBe(200);
    await sql.query('delete from team_members where team_id = $1 and user_id = $2', [owner.teamId, guest.userId]);
    expect((await call(gateway, 'GET', '/v1/me', { token })).status).toBe(401);
  });

  test('expired, foreign, unsigned and host tokens are refused', async () => {
    const person = await signUp(gateway);
    const claims = JSON.parse(Buffer.from(person.token.split('.')[1] ?? '', 'base64url').toString());
    const sign = (secret: string, overrides: object) =>
      new SignJWT({ ...claims, ...overrides })
        .setProtectedHeader({ alg: 'HS256' })
        .sign(new TextEncoder().encode(secret));
    const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${person.token.split('.')[1]}.`;
    const bad = [
      await sign('another secret, also longer than 32 characters', {}),
      await sign(JWT_SECRET, { exp: Math.floor(Date.now() / 1000) - 10 }),
      await sign(JWT_SECRET, { aud: 'wrenn:host' }),
      await sign(JWT_SECRET, { sid: 'ses-other' }),
      none,
      'rubbish',
      '',
    ];
    expect((await call(gateway, 'GET', '/v1/me', { token: await sign(JWT_SECRET, {}) })).status).toBe(200);
    for (const token of bad) expect((await call(gateway, 'GET', '/v1/me', { token })).status).toBe(401);
  });

  test('a token of six hours', async () => {
    const { token } = await signUp(gateway);
    const { exp, iat } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
    expect(Math.abs(exp - iat - 6 * 3600)).toBeLessThanOrEqual(1);
  });

  test('the platform admin flag comes from the database', async () => {
    const person = await signUp(gateway);
    expect((await call(gateway, 'GET', '/v1/me', { token: person.token })).body.user.is_admin).toBe(false);
    await gateway.services.sql.query('update users set is_admin = true where id = $1', [person.userId]);
    expect((await call(gateway, 'GET', '/v1/me', { token: person.token })).body.user.is_admin).toBe(true);
  });

  test('a foreign team is 404, a malformed id 400', async () => {
    const [mine, other] = await Promise.all([signUp(gateway), signUp(gateway)]);
    const switchTo = (team_id: string) =>
      call(gateway, 'POST', '/v1/auth/switch-team', { token: mine.token, body: { team_id } });
    expect((await switchTo(other.teamId)).status).toBe(404);
    expect((await switchTo('team;drop')).status).toBe(400);
    expect((await call(gateway, 'GET', `/v1/teams/${other.teamId}/members`, { token: mine.token })).status).toBe(404);
    expect((await call(gateway, 'GET', '/v1/teams/nonsense/members', { token: mine.token })).status).toBe(400);
  });
});

describe('ID3: API keys', () => {
  const makeKey = async (token: string, body: object = { name: 'ci' }) => {
    const answer = await call(gateway, 'POST', '/v1/api-keys', { token, body });
    expect(answer.status).toBe(201);
    return answer.body as { id: string; key: string; prefix: string };
  };
  const works = async (key: string) => (await call(gateway, 'GET', '/v1/templates', { key })).status;

  test('shown once, stored as a hash, good as wrn_ and as e2b_', async () => {
    const { token } = await signUp(gateway);
    const made = await makeKey(token);
    expect(made.key).toMatch(/^wrn_[0-9a-f]{32}$/);
    expect(made.key.startsWith(made.prefix)).toBe(true);
    expect(await works(made.key)).toBe(200);
    expect(await works(made.key.replace('wrn_', 'e2b_'))).toBe(200);
    const listed = await call(gateway, 'GET', '/v1/api-keys', { token });
    expect(JSON.stringify(listed.body)).not.toContain(made.key);
    expect(listed.body.items[0]).toMatchObject({ id: made.id, name: 'ci', last_used_at: null });
    const { rows } = await gateway.services.sql.query('select * from api_keys where id = $1', [made.id]);
    expect(JSON.stringify(rows[0])).not.toContain(made.key.slice(12));
    expect(rows[0].hash).toEqual(sha256(made.key.slice(4)));
  });

  test('malformed, unknown, revoked and expired keys are refused alike', async () => {
    const { token } = await signUp(gateway);
    const revoked = await makeKey(token);
    const expiring = await makeKey(token, { name: 'short', expires_at: new Date(Date.now() + 60_000).toISOString() });
    expect(await works(expiring.key)).toBe(200);
    await gateway.services.sql.query(`update api_keys set expires_at = now() - interval '1 s' where id = $1`, [
      expiring.id,
    ]);
    expect((await call(gateway, 'DELETE', `/v1/api-keys/${revoked.id}`, { token })).status).toBe(204);
    const bad = [
      revoked.key,
      expiring.key,
      `wrn_${'0'.repeat(32)}`,
      revoked.key.toUpperCase(),
      `${revoked.key}0`,
      'wrn_',
      '',
      token,
      `xyz_${revoked.key.slice(4)}`,
    ];
    const answers = await Promise.all(bad.map((key) => call(gateway, 'GET', '/v1/templates', { key })));
    expect(answers.map(({ status }) => status)).toEqual(bad.map(() => 401));
    expect(new Set(answers.map(({ body }) => JSON.stringify(body))).size).toBe(1);
  });

  test('a key acts as its team only: no keys, no people, no other team', async () => {
    const [mine, other] = await Promise.all([signUp(gateway), signUp(gateway)]);
    const { key } = await makeKey(mine.token);
    for (const path of ['/v1/api-keys', '/v1/me', '/v1/teams']) {
      expect((await call(gateway, 'GET', path, { key })).status).toBe(401);
    }
    const foreign = await makeKey(other.token);
    expect((await call(gateway, 'DELETE', `/v1/api-keys/${foreign.id}`, { token: mine.token })).status).toBe(404);
    expect(await works(foreign.key)).toBe(200);
    expect((await call(gateway, 'DELETE', '/v1/api-keys/;', { token: mine.token })).status).toBe(400);
  });

  test('members revoke their own keys only', async () => {
    const owner = await signUp(gateway);
    const guest = await signUp(gateway);
    await gateway.services.sql.query(`insert into team_members (team_id, user_id, role) values ($1, $2, 'member')`, [
      owner.teamId,
      guest.userId,
    ]);
    const { body } = await call(gateway, 'POST', '/v1/auth/switch-team', {
      token: guest.token,
      body: { team_id: owner.teamId },
    });
    const owners = await makeKey(owner.token);
    const guests = await makeKey(body.token);
    expect((await call(gateway, 'DELETE', `/v1/api-keys/${owners.id}`, { token: body.token })).status).toBe(403);
    expect((await call(gateway, 'DELETE', `/v1/api-keys/${guests.id}`, { token: body.token })).status).toBe(204);
  });

  test('last use is written in batches, not by requests', async () => {
    const { token } = await signUp(gateway);
    const { key, id } = await makeKey(token);
    const lastUsed = async () =>
      (await gateway.services.sql.query('select last_used_at from api_keys where id = $1', [id])).rows[0].last_used_at;
    for (let i = 0; i < 20; i += 1) await works(key);
    expect(await lastUsed()).toBeNull();
    await gateway.services.keyUsage.flush();
    expect(Date.now() - (await lastUsed()).getTime()).toBeLessThan(10_000);
  });

  test('pages of keys: stable, without gaps, and a made-up cursor is 400', async () => {
    const { token } = await signUp(gateway);
    const made = [];
    for (let i = 0; i < 5; i += 1) made.push((await makeKey(token, { name: `k${i}` })).id);
    const seen: string[] = [];
    let cursor = '';
    do {
      const answer = await call(gateway, 'GET', `/v1/api-keys?limit=2${cursor && `&cursor=${cursor}`}`, { token });
      seen.push(...answer.body.items.map((item: { id: string }) => item.id));
      cursor = answer.body.next_cursor ?? '';
    } while (cursor);
    expect(seen).toEqual(made.reverse());
    expect((await call(gateway, 'GET', '/v1/api-keys?cursor=rubbish', { token })).status).toBe(400);
    expect((await call(gateway, 'GET', '/v1/api-keys?limit=0', { token })).status).toBe(400);
    expect((await call(gateway, 'GET', '/v1/api-keys?wrong=1', { token })).body.error.message).toContain('wrong');
  });

  test('key and token together are refused', async () => {
    const { token } = await signUp(gateway);
    const { key } = await makeKey(token);
    expect((await call(gateway, 'GET', '/v1/templates', { token, key })).status).toBe(400);
  });
});

test('the trail has what was done, by whom, and no secret', async () => {
  const person = await signUp(gateway);
  const { body } = await call(gateway, 'POST', '/v1/api-keys', { token: person.token, body: { name: 'audited' } });
  const { rows } = await gateway.services.sql.query('select * from audit_logs where team_id = $1 order by at', [
    person.teamId,
  ]);
  expect(rows.map(({ action, actor_id }) => [action, actor_id])).toEqual([
    ['team.create', person.userId],
    ['key.create', person.userId],
  ]);
  expect(JSON.stringify(rows)).not.toContain(body.key);
});
