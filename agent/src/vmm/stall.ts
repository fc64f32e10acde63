import type { SandboxFiles } from '../files.ts';
import { QmpClient } from './qmp.ts';
import { VmmSession } from './session.ts';

/** QEMU stops a VM whose write finds no room on the host (`werror=enospc`, its default); the write is repeated by `cont`. */
const STALLED = 'io-error';

/** See `Vmm.watchStalls`. The control socket serves one at a time, so that this has one of its own. */
export async function watchStalls(files: SandboxFiles, stalled: () => void, signal: AbortSignal): Promise<void> {
  const events = await QmpClient.connect(files.events, signal);
  try {
    const found = events.execute('query-status', undefined, signal).then(({ status }) => {
      if (status === STALLED) stalled();
    });
    for await (const { event, data } of events.events(signal)) {
      if (event === 'BLOCK_IO_ERROR' && data?.action === 'stop') stalled();
    }
    await found;
  } finally {
    events.close();
  }
}

/** See `Vmm.endStall`. */
export function endStall(files: SandboxFiles, signal: AbortSignal): Promise<void> {
  return VmmSession.with(files, signal, async (session) => {
    if ((await session.runState()) === STALLED) await session.continue();
  });
}
