#!/usr/bin/env node
import './threads.ts';
import { createLogger, loadConfig } from '@wrenn/core';
import { Agent } from './agent.ts';
import { parseCommandLine, USAGE, UsageError } from './command-line.ts';
import { agentSettings, rootOf } from './config.ts';
import { demo } from './demo.ts';
import { doctor } from './doctor/doctor.ts';
import { AgentFiles } from './files.ts';
import type { Registration } from './registration/register.ts';

/** A second signal does not wait for what the first began. */
function endOnSignals(): AbortSignal {
  const ending = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) {
    process.on(name, () => {
      if (ending.signal.aborted) process.exit(1);
      ending.abort();
    });
  }
  return ending.signal;
}

async function main(): Promise<number> {
  const line = parseCommandLine(process.argv.slice(2));
  if (line.command === 'help') {
    console.log(USAGE);
    return 0;
  }
  const settings = loadConfig(agentSettings);
  const signal = endOnSignals();
  if (line.command === 'run') return run(settings, line.registration, signal);
  const files = new AgentFiles(rootOf(settings));
  if (line.command === 'doctor') return (await doctor(settings, files, console.log, signal)) ? 0 : 1;
  await demo(settings, files, console.log, createLogger({ name: 'wrenn-agent', level: 'error' }), signal);
  return 0;
}

async function run(
  settings: Parameters<typeof rootOf>[0],
  registration: Registration | null,
  signal: AbortSignal,
): Promise<number> {
  const log = createLogger({ name: 'wrenn-agent', level: settings.WRENN_LOG_LEVEL });
  const agent = new Agent({ settings, log, registration });
  await agent.start(signal);
  const ended = new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
  await Promise.race([ended, agent.terminated]);
  log.info('stopping; running VMs live on');
  await agent.stop();
  return 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  if (error instanceof UsageError) console.error(`wrenn-agent: ${error.message}\n\n${USAGE}`);
  else console.error(error);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
