import { randomUUID } from 'node:crypto';
import type { ActorRef, DomainEvent } from '../definition.ts';
import { WrennError } from '../errors.ts';
import type { SendOptions } from '../runtime.ts';
import type { Envelope } from '../step/actor-state.ts';
import { storable } from '../step/storable.ts';

/** A message from outside, checked at the edge: what comes after can store it. */
export function envelopeOf(to: ActorRef, event: DomainEvent, options: SendOptions, asked: boolean): Envelope {
  if (event.type.startsWith('xstate.') || event.type.startsWith('wrenn.')) {
    throw new WrennError('bad_request', `${event.type} is the runtime's own`);
  }
  const { messageId, cause, effectKey } = options;
  const id = messageId ?? randomUUID();
  if (/[\0:]/.test(to.kind) || to.kind === '' || to.id === '' || `${to.id}${id}`.includes('\0')) {
    throw new WrennError('invalid_id', 'an actor or message id is empty or has characters that no id has');
  }
  const key = effectKey === undefined ? {} : { effectKey };
  return { id, to: { kind: to.kind, id: to.id }, event: storable(event), cause: storable(cause), asked, ...key };
}
