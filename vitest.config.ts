import { defineConfig } from 'vitest/config';

/** Rooms whose tests stand beside the sources. One PostgreSQL and one Redis serve them all. */
const ROOMS = ['core', 'actors', 'gateway', 'agent', 'sdk', 'console', 'native/addon', 'scripts', 'images'];

/** What is awaited comes at once on a free machine; on a busy one nobody should be told that it never came. */
const POLL_TIMEOUT_MS = 10_000;

/** The same, where VMs run beside it. */
const E2E_POLL_TIMEOUT_MS = 20_000;

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
          pool: 'forks' as const,
        },
      })),
      {
        test: {
          name: 'e2e',
          globalSetup: ['./e2e/testing/global-setup.ts'],
          include: ['e2e/**/*.test.ts'],
          testTimeout: E2E_TIMEOUT_MS,
          hookTimeout: E2E_TIMEOUT_MS,
          expect: { poll: { timeout: E2E_POLL_TIMEOUT_MS } },
          pool: 'forks' as const,
          fileParallelism: false,
        },
      },
    ],
  },
});
