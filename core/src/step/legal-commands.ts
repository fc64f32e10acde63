import type { ActorView, EventMeta } from '../definition.ts';
import type { LegalCommand } from '../runtime.ts';
import type { PreparedMachine } from './prepared-machine.ts';

/** Which commands the actor would take now, and why not the others. Creating ones are not listed: the actor is there. */
export function legalCommands(machine: PreparedMachine, view: ActorView<never>, at: number): LegalCommand[] {
  const { definition } = machine;
  const snapshot = machine.restore({ value: view.state, context: view.context, status: view.done ? 'done' : 'active' });
  const meta: EventMeta = { id: '', at, cause: { type: 'system' } };
  return Object.entries(definition.commands)
    .filter(([, { creates }]) => !creates)
    .map(([type, { title, destructive }]) => {
      const legal = machine.can(snapshot, { type }, meta);
      const reason = legal ? null : (definition.explain?.(view, type) ?? `not possible in state ${view.path}`);
      return { type, title, destructive: destructive ?? false, legal, ...(reason === null ? {} : { reason }) };
    });
}
