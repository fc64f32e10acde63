import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { stopStack } from '../scripts/dev/down.ts';
import { apiOf, apiOfNewTeam, createSandbox } from './testing/api.ts';
import { hostState } from './testing/host-state.ts';
import { isBuilt, startTestStack, stopTestStack } from './testing/stack.ts';

describe.runIf(isBuilt)('make down', () => {
  test('pauses what runs and leaves nothing else behind; a new start resumes it by request', {
    timeout: 300_000,
  }, async () => {
    const dir = mkdtempSync(join(tmpdir(), 'wrenn-e2e-down-'));
    try {
      const stack = await startTestStack(dir, '7100-7149');
      const api = apiOf(stack);
      const id = await createSandbox(api, { memory_mb: 256 });
      // A team that the account of `make up` is no member of.
      const foreign = await apiOfNewTeam(stack);
      const other = await createSandbox(foreign, { memory_mb: 256 });
      const left = await createSandbox(api, { memory_mb: 256 });
      await api('DELETE', `/v1/sandboxes/${left}`);
      await api('POST', `/v1/sandboxes/${id}/exec`, { cmd: 'sh', args: ['-c', 'echo kept > /dev/shm/kept'] });
      expect((await hostState(stack.settings)).vmms.length).toBeGreaterThanOrEqual(2);
      const said: string[] = [];
      await stopStack(stack.settings, (line) => said.push(line.trim()));
      expect(said[0]).toBe('2 running sandboxes paused');
      expect(await hostState(stack.settings)).toEqual({
        vmms: [],
        slots: 0,
        sandboxFolders: expect.toSatisfy((folders: string[]) => folders.length === 2),
        cgroups: [],
        mounts: [],
        loops: [],
        agentDescriptors: 0,
      });
      const again = await startTestStack(dir, '7100-7149');
      expect(again.apiKey).toBe(stack.apiKey);
      expect((await apiOf(again)('GET', `/v1/sandboxes/${id}`)).body.status).toBe('paused');
      expect((await apiOf(again)('POST', `/v1/sandboxes/${id}/resume`)).body).toMatchObject({ id, status: 'running' });
      const kept = await apiOf(again)('POST', `/v1/sandboxes/${id}/exec`, { cmd: 'cat', args: ['/dev/shm/kept'] });
      expect(kept.body.stdout).toBe('kept\n');
      expect((await foreign('POST', `/v1/sandboxes/${other}/resume`)).status).toBe(200);
    } finally {
      await stopTestStack(dir);
    }
  });
});
