import { AuthenticationError } from 'e2b';
import { describe, expect } from 'vitest';
import { testsOfEnvd } from './bare-envd.ts';

const TOKEN = 'the-token-of-this-test';

/** VM7, AG3, X1: a guest agent with an access token, and the SDK's signed URLs. */
describe('access with the published SDK', () => {
  const it = testsOfEnvd({ token: TOKEN });

  it('the token opens everything, and nothing opens without it', async ({ sandbox, url, dir }) => {
    expect((await sandbox.commands.run('echo in')).stdout).toBe('in\n');
    await sandbox.files.write(`${dir}/a`, 'in');
    expect(await sandbox.files.read(`${dir}/a`)).toBe('in');
    const stranger = new (sandbox.constructor as typeof import('e2b').Sandbox)({
      sandboxId: 'debug',
      envdVersion: '0.6.13',
      debug: true,
      envdAccessToken: 'wrong',
    });
    await expect(stranger.commands.run('echo in')).rejects.toBeInstanceOf(AuthenticationError);
    await expect(stranger.files.read(`${dir}/a`)).rejects.toBeInstanceOf(AuthenticationError);
    expect((await fetch(`${url}/envs`)).status).toBe(401);
    expect((await fetch(`${url}/init`, { method: 'POST', body: '{}' })).status).toBe(401);
  });

  it('signed URLs: up, down, as another user, expired', async ({ sandbox, dir }) => {
    await sandbox.commands.run(`chmod 777 ${dir}`);
    const path = `${dir}/signed`;
    const form = new FormData();
    form.append('file', 'signed content');
    const up = await fetch(await sandbox.uploadUrl(path, { user: 'nobody', useSignatureExpiration: 60 }), {
      method: 'POST',
      body: form,
    });
    expect(up.status).toBe(200);
    expect(await up.json()).toEqual([{ path, name: 'signed', type: 'file' }]);
    expect((await sandbox.files.getInfo(path)).owner).toBe('nobody');
    const down = await fetch(await sandbox.downloadUrl(path, { useSignatureExpiration: 60 }));
    expect(await down.text()).toBe('signed content');
    expect(await (await fetch(await sandbox.downloadUrl(path))).text()).toBe('signed content');
    const late = await fetch(await sandbox.downloadUrl(path, { useSignatureExpiration: -60 }));
    expect(late.status).toBe(401);
    expect(await late.json()).toEqual({ code: 401, message: 'signature is already expired' });
  });
});
