/** The host agent as it ships, with the stand-in for the VMM: `agent-child.ts [run --register TOKEN --address IP:PORT]`. */
import { createLogger, loadConfig } from '@wrenn/core';
import { Agent } from '../../agent/src/agent.ts';
import { parseCommandLine } from '../../agent/src/command-line.ts';
import { agentSettings, rootOf } from '../../agent/src/config.ts';
import { AgentFiles } from '../../agent/src/files.ts';
import { StandIn } from './stand-in.ts';

const line = parseCommandLine(process.argv.slice(2));
if (line.command !== 'run') throw new Error('only run');
const settings = loadConfig(agentSettings);
const log = createLogger({ name: 'wrenn-agent', level: settings.WRENN_LOG_LEVEL });
const vmm = new StandIn(new AgentFiles(rootOf(settings)));
const agent = new Agent({ settings, log, registration: line.registration, vmm });
await agent.start(new AbortController().signal);
process.on('SIGTERM', () => void agent.stop().then(() => process.exit(0)));
