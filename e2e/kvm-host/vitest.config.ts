import { resolve } from 'node:path';
import { defineConfig } from 'vitest/config';

/** Tests of the agent that need what only the box has: block devices of device-mapper, a KVM for Firecracker. */
export default defineConfig({
  root: resolve(import.meta.dirname, '../..'),
  test: {
    include: ['agent/src/rootfs/copied.test.ts', 'agent/src/vmm/firecracker.test.ts'],
    testTimeout: 60_000,
    pool: 'threads',
    fileParallelism: false,
    isolate: false, // a worker for each file takes seconds in there
    reporters: ['verbose'],
  },
});
