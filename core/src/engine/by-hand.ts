import { randomUUID } from 'node:crypto';
import type { ActorRef, Cause } from '../definition.ts';
import type { EffectRow, Envelope } from '../step/actor-state.ts';
import { effectKey } from '../step/refs.ts';
import { RETRY_EFFECT } from '../step/step.ts';
import { storable } from '../step/storable.ts';
import type { Engine } from './engine.ts';

/** A person asks for another round of attempts. Goes through the mailbox, so that the journal has it with its cause. */
export function retryEnvelope(ref: ActorRef, number: number, cause: Cause): Envelope {
  const key = effectKey(ref, number);
  return {
    id: randomUUID(),
    to: ref,
    event: { type: RETRY_EFFECT, number },
    cause: storable(cause),
    effectKey: key,
    asked: false,
  };
}

/** A person gives an effect up: the event that its policy would deliver at the end of the attempts. */
export function giveUpEnvelope(engine: Engine, ref: ActorRef, effect: EffectRow, cause: Cause): Envelope | null {
  const definition = engine.definitions.get(ref.kind)?.effects[effect.name];
  if (!definition) return null;
  const error = effect.lastError ?? { code: 'given_up', message: 'given up by hand' };
  const event = storable(definition.gaveUp(error, effect.input));
  return {
    id: randomUUID(),
    to: ref,
    event,
    cause: storable(cause),
    effectKey: effectKey(ref, effect.number),
    asked: false,
  };
}

/** Resolves when the message is durable. */
export function sent(engine: Engine, envelope: Envelope): Promise<void> {
  return new Promise((resolve, reject) =>
    engine.send(envelope, (error) => (error === undefined ? resolve() : reject(error))),
  );
}
