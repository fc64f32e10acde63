import type { Answer } from '../definition.ts';
import type { ErrorCode } from '../error-codes.ts';
import type { ActorState, Envelope } from './actor-state.ts';
import type { Changes } from './changes.ts';
import { unmovedEntry } from './entry.ts';
import { legalCommands } from './legal-commands.ts';
import type { PreparedMachine } from './prepared-machine.ts';
import { viewOf } from './view.ts';

/**
 * The message is journalled, and answered if anybody is to hear; nothing else changes but `seq`. An illegal command is
 * `refused`; a firing, result or report that is no longer expected is `late` (I4).
 */
export function refuse(
  machine: PreparedMachine,
  state: ActorState,
  envelope: Envelope,
  at: number,
  changes: Changes,
  outcome: 'refused' | 'late',
): void {
  state.seq += 1;
  state.updatedAt = at;
  changes.entries.push(unmovedEntry(state, envelope, at, outcome));
  if (!envelope.asked && !machine.definition.commands[envelope.event.type]) return;
  changes.answers.push({ messageId: envelope.id, answer: refusal(machine, state, envelope.event.type, at) });
}

/** The state, since when, and what is legal instead. */
function refusal(machine: PreparedMachine, state: ActorState, type: string, at: number): Answer {
  const { definition } = machine;
  const view = viewOf(state);
  const legal = legalCommands(machine, view, at).flatMap((command) => (command.legal ? [command.type] : []));
  const message = definition.explain?.(view, type) ?? `not possible in state ${state.path}`;
  const code: ErrorCode = definition.commands[type]?.creates ? 'already_exists' : 'illegal_command';
  const details = { state: view.state, path: view.path, since: view.since, legal_commands: legal };
  return { ok: false, error: { code, message, details } };
}
