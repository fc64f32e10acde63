import type { ActorRef } from '../definition.ts';
import type { OpenEffect, OpenTimer } from '../runtime.ts';
import type { EffectRow, TimerRow } from '../step/actor-state.ts';
import { effectKey } from '../step/refs.ts';
import type { Engine } from './engine.ts';

export function openTimer({ name, delay, node, dueAt }: TimerRow): OpenTimer {
  return { name: delay, dueAt, event: name, state: node };
}

export function openEffect(engine: Engine, ref: ActorRef, effect: EffectRow): OpenEffect {
  return {
    key: effectKey(ref, effect.number),
    name: effect.name,
    number: effect.number,
    state: effect.node,
    attempts: effect.attempts,
    openedAt: effect.openedAt,
    nextAttemptAt: effect.nextAttemptAt,
    lastError: effect.lastError,
    status: effect.status === 'open' && engine.effects.isRunning(ref, effect.number) ? 'running' : effect.status,
  };
}
