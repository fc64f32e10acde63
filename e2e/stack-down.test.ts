import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { stopStack } from '../scripts/dev/down.ts';
import { apiOf, createSandbox } from './testing/api.ts';
import { hostState } from './testing/host-state.ts';
import { isBuilt, startTestStack, stopTestStack } from './testing/stack.ts';

describe.runIf(isBuilt)('make down', () => {
  test('leaves nothing behind, whatever ran; a new start finds the account again', { timeout: 300_000 }, async () => {
    const dir = mkdtempSync(join(tmpdir(), 'wrenn-e2e-down-'));
    try {
      const stack = await startTestStack(dir, '7100-7149');
      const id = await createSandbox(apiOf(stack), { memory_mb: 256 });
      expect((await hostState(stack.settings)).vmms).toHaveLength(1);
      const said: string[] = [];
      await stopStack(stack.settings, (line) => said.push(line.trim()));
      expect(said[0]).toBe('1 running sandbox destroyed');
      expect(await hostState(stack.settings)).toEqual({
        vmms: [],
        slots: 0,
        sandboxFolders: [],
        cgroups: [],
        mounts: [],
        loops: [],
        agentDescriptors: 0,
      });
      const again = await startTestStack(dir, '7100-7149');
      expect(again.apiKey).toBe(stack.apiKey);
      expect((await apiOf(again)('GET', `/v1/sandboxes/${id}`)).body.status).toBe('stopped');
    } finally {
      await stopTestStack(dir);
    }
  });
});
