import type { StepFailed, VmEffects, VmStep } from '@wrenn/actors';
import type { DomainEvent, EffectHandler, EffectJob } from '@wrenn/core';
import { AgentError } from '../errors.ts';
import { admit } from './admit.ts';
import { awaitGuest } from './await-guest.ts';
import type { EffectContext } from './context.ts';
import { kill } from './kill.ts';
import { launch } from './launch.ts';
import { makeRootfs } from './rootfs.ts';
import { takeSlot } from './slot.ts';
import { unroot } from './unroot.ts';
import { unslot } from './unslot.ts';

/** One effect's doing; `Name` ties its input and result to the definition. */
type Work<Name extends keyof VmEffects> = (
  context: EffectContext,
  vmId: string,
  input: VmEffects[Name]['input'],
  signal: AbortSignal,
) => Promise<VmEffects[Name]['result']>;

/** The doing of every effect that `actors/vm` names. */
export function vmEffectHandlers(context: EffectContext): Record<keyof VmEffects, EffectHandler> {
  return {
    'vm.admit': (job, signal) => result(admit(context, job.actor.id, signal)), // not one by one: it waits, and must not hold up an undo
    'vm.slot': step<'vm.slot'>(context, 'slot', takeSlot),
    'vm.rootfs': step<'vm.rootfs'>(context, 'rootfs', makeRootfs),
    'vm.launch': step<'vm.launch'>(context, 'launch', launch),
    'vm.await_guest': step<'vm.await_guest'>(context, 'await_guest', awaitGuest),
    'vm.kill': undo<'vm.kill'>(context, kill),
    'vm.unroot': undo<'vm.unroot'>(context, unroot),
    'vm.unslot': undo<'vm.unslot'>(context, unslot),
  };
}

/**
 * A step whose failure has a known reason fails the start; anything else is thrown, and tried again by the effect's
 * policy.
 */
function step<Name extends keyof VmEffects>(context: EffectContext, name: VmStep, work: Work<Name>): EffectHandler {
  return (job, signal) =>
    context.serial.run(job.actor.id, async () => {
      await context.gate.pass(signal);
      try {
        return await result(work(context, job.actor.id, inputOf<Name>(job), signal));
      } catch (error) {
        if (signal.aborted || !(error instanceof AgentError)) throw error;
        const { code, message, retryable } = error;
        return { type: 'STEP_FAILED', step: name, code, message, retryable } satisfies StepFailed;
      }
    });
}

function undo<Name extends 'vm.kill' | 'vm.unroot' | 'vm.unslot'>(
  context: EffectContext,
  work: Work<Name>,
): EffectHandler {
  return (job, signal) => {
    context.admission.leave(job.actor.id);
    context.times.take(job.actor.id);
    return context.serial.run(job.actor.id, async () => {
      await context.gate.pass(signal);
      return result(work(context, job.actor.id, inputOf<Name>(job), signal));
    });
  };
}

/** The runtime stores inputs as JSON; their types are the definition's (actors/src/vm/effects.ts). */
function inputOf<Name extends keyof VmEffects>(job: EffectJob): VmEffects[Name]['input'] {
  return job.input as unknown as VmEffects[Name]['input'];
}

async function result(event: Promise<VmEffects[keyof VmEffects]['result']>): Promise<DomainEvent> {
  return (await event) as DomainEvent;
}
