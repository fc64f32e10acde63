import { setTimeout as sleep } from 'node:timers/promises';
import { runningService, type ServiceName } from '../../scripts/dev/services.ts';
import type { StackSettings } from '../../scripts/dev/settings.ts';

/** Holds a program of the stack still, with whatever it was asked for, until the function returned is called. */
export function holdService(settings: StackSettings, name: ServiceName): () => void {
  const record = runningService(settings, name);
  if (!record) throw new Error(`${name} does not run`);
  process.kill(record.pid, 'SIGSTOP');
  return () => void process.kill(record.pid, 'SIGCONT');
}

/** Kills a program of the stack as a crash does, and resolves when it is gone. `sharedStack()` starts it again. */
export async function killService(settings: StackSettings, name: ServiceName): Promise<void> {
  const record = runningService(settings, name);
  if (!record) throw new Error(`${name} does not run`);
  process.kill(record.pid, 'SIGKILL');
  while (runningService(settings, name)) await sleep(10);
}
