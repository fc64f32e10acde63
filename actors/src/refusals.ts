import type { ActorDefinition } from '@wrenn/core';

/**
 * What people are told where a command is refused: one sentence says why, the next what to do. By state (its path), and
 * within by command; `any` is said of those that are not named. Of several states that an actor is in, the one that
 * stands first counts, so the inner ones stand before those around them.
 */
export type Refusals = Readonly<Record<string, { readonly any?: string; readonly [command: string]: string }>>;

const EXISTS = 'It exists already. Create another one instead.';

/** `explain` of a definition, by its table. */
export function explainedBy(refusals: Refusals): NonNullable<ActorDefinition['explain']> {
  return ({ path }, command) => {
    const leaves = path.split('+');
    const isActive = (state: string) => leaves.some((leaf) => leaf === state || leaf.startsWith(`${state}.`));
    const words = Object.entries(refusals).find(([state]) => isActive(state))?.[1];
    return words?.[command] ?? (command === 'CREATE' ? EXISTS : (words?.any ?? null));
  };
}
