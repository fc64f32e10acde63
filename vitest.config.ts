import { defineConfig } from 'vitest/config';

/** Rooms whose tests stand beside the sources. One PostgreSQL and one Redis serve them all. */
const ROOMS = ['core', 'actors', 'gateway', 'agent', 'sdk', 'native/addon', 'scripts', 'images'];

/** What is awaited comes at once on a free machine; on a busy one nobody should be told that it never came. */
const POLL_TIMEOUT_MS = 10_000;

/**
 * On a busy machine a WebSocket was seen to be cut right after its opening (1006), about once in a hundred times; why is
 * not known yet (docs/operations.md, "Known faults"). Rooms whose tests open many try once more, and say so.
 */
const ONCE_MORE: Readonly<Record<string, number>> = { gateway: 1, sdk: 1 };

/** Whole-system tests boot VMs on two cores: one file at a time, with time to wait for a cold boot. */
const E2E_TIMEOUT_MS = 120_000;

export default defineConfig({
  test: {
    globalSetup: ['./scripts/dev/global-setup.ts'],
    projects: [
      ...ROOMS.map((room) => ({
        test: {
          name: room,
          include: [`${room}/**/*.test.ts`],
          testTimeout: 20_000,
          hookTimeout: 60_000,
          expect: { poll: { timeout: POLL_TIMEOUT_MS } },
          retry: ONCE_MORE[room] ?? 0,
          pool: 'forks' as const,
        },
      })),
      {
        test: {
          name: 'e2e',
          globalSetup: ['./e2e/testing/global-setup.ts'],
          include: ['e2e/**/*.test.ts'],
          testTimeout: E2E_TIMEOUT_MS,
          retry: 1,
          hookTimeout: E2E_TIMEOUT_MS,
          pool: 'forks' as const,
          fileParallelism: false,
        },
      },
    ],
  },
});
