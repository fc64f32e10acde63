import { parseArgs } from 'node:util';
import type { Registration } from './registration/register.ts';

export const USAGE = `wrenn-agent: runs the sandboxes of one host

  wrenn-agent [run] [--register TOKEN --address IP:PORT]   serves the control plane
  wrenn-agent doctor                                       says what works on this machine, and how to mend the rest
  wrenn-agent demo                                         boots one VM, runs \`echo hello\` in it, cleans up
  wrenn-agent --help

  --register TOKEN     one-time token of POST /v1/hosts: makes this host a member of the fleet
  --address IP:PORT    where the control plane reaches this agent

Settings come from the environment and from .env (WRENN_DIR, WRENN_AGENT_LISTEN, WRENN_CP_URL, …).`;

export type CommandLine =
  | { readonly command: 'run'; readonly registration: Registration | null }
  | { readonly command: 'doctor' | 'demo' | 'help' };

/** A command line that cannot be understood; its message is for the terminal. */
export class UsageError extends Error {}

export function parseCommandLine(args: readonly string[]): CommandLine {
  const { values, positionals } = parse(args);
  if (values.help === true) return { command: 'help' };
  const [command = 'run', ...rest] = positionals;
  if (rest.length > 0) throw new UsageError(`unexpected argument ${JSON.stringify(rest[0])}`);
  const { register: token, address } = values;
  if (command === 'run') {
    if ((token === undefined) !== (address === undefined)) throw new UsageError('--register and --address go together');
    const registration = token === undefined || address === undefined ? null : { token, address };
    return { command, registration };
  }
  if (command !== 'doctor' && command !== 'demo') throw new UsageError(`unknown command ${JSON.stringify(command)}`);
  if (token !== undefined || address !== undefined) throw new UsageError(`${command} takes no options`);
  return { command };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { register: { type: 'string' }, address: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}
