import { type Actor, type ActorKind, api, ok } from '../lib/api.ts';
import { labelsText, parseLabels } from '../lib/labels.ts';

export interface Field {
  readonly name: string;
  readonly label: string;
  readonly kind: 'text' | 'number' | 'labels';
  readonly help?: string;
  readonly initial: (actor: Actor) => string;
}

interface Spec {
  readonly spec?: { readonly timeout_sec?: number; readonly labels?: Record<string, string> };
  readonly tags?: readonly string[];
}
const specOf = (actor: Actor) => (actor.context as Spec).spec ?? {};

/** What commands need to be told. Those that are not here need nothing. */
export const FORMS: Readonly<Record<string, readonly Field[]>> = {
  PATCH: [
    {
      name: 'timeout_sec',
      label: 'Idle time, seconds',
      kind: 'number',
      help: 'Without activity for so long it is paused. 0: never.',
      initial: (actor) => String(specOf(actor).timeout_sec ?? 0),
    },
    {
      name: 'labels',
      label: 'Labels',
      kind: 'labels',
      help: 'name=value, by spaces',
      initial: (actor) => labelsText(specOf(actor).labels ?? {}),
    },
  ],
  SNAPSHOT: [
    {
      name: 'name',
      label: 'Name',
      kind: 'text',
      help: 'Capsules are created from it by this name.',
      initial: ({ id }) => `snap-${id.slice(2, 8)}`,
    },
  ],
  FORK: [
    {
      name: 'count',
      label: 'How many',
      kind: 'number',
      help: '1 to 100, each a copy that runs on.',
      initial: () => '1',
    },
  ],
  SET_TAGS: [
    {
      name: 'tags',
      label: 'Tags',
      kind: 'text',
      help: 'by spaces',
      initial: (actor) => ((actor.context as Spec).tags ?? []).join(' '),
    },
  ],
};

/** A form's texts as the API takes them. */
export function parseFields(type: string, texts: Readonly<Record<string, string>>): Record<string, unknown> {
  const fields = FORMS[type] ?? [];
  return Object.fromEntries(
    fields.map(({ name, kind }) => {
      const text = (texts[name] ?? '').trim();
      if (kind === 'number') return [name, Number(text)];
      if (kind === 'labels') return [name, parseLabels(text)];
      return [name, name === 'tags' ? text.split(/\s+/).filter(Boolean) : text];
    }),
  );
}

/** Sends a command, with the checks of its REST verb. */
export async function send(actor: Actor, type: string, fields: Readonly<Record<string, unknown>>): Promise<void> {
  const path = { kind: actor.kind as ActorKind, id: actor.id };
  await ok(api.POST('/v1/actors/{kind}/{id}/commands', { params: { path }, body: { type, ...fields } }));
}
