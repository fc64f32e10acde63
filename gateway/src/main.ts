import { createLogger, loadConfig } from '@wrenn/core';
import { configSchema } from './config.ts';
import { startControlPlane } from './control-plane.ts';

/** `wrenn-cp`: the control plane. Settings come from the environment (docs/contracts.md). */
const config = loadConfig(configSchema, process.env, { alsoKnown: ['WRENN_DIR'] });
const log = createLogger({ name: 'wrenn-cp', level: config.WRENN_LOG_LEVEL });

try {
  const started = performance.now();
  const controlPlane = await startControlPlane(config, log);
  const ms = Math.round(performance.now() - started);
  log.info({ listen: config.WRENN_LISTEN, port: controlPlane.port, ms }, 'in control');
  stopOnSignal(controlPlane);
} catch (err) {
  log.fatal({ err }, 'cannot start');
  process.exit(1);
}

/** The first signal stops in order, a second one at once. */
function stopOnSignal(controlPlane: { stop(): Promise<void> }): void {
  let stopping = false;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (stopping) process.exit(1);
      stopping = true;
      log.info({ signal }, 'stopping');
      controlPlane.stop().then(
        () => process.exit(0),
        (err: unknown) => {
          log.error({ err }, 'stopped with an error');
          process.exit(1);
        },
      );
    });
  }
}
