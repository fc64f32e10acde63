import type { StepFailed, VmEffects, VmStep } from '@wrenn/actors';
import type { DomainEvent, EffectHandler, EffectJob } from '@wrenn/core';
import { describeError } from '../errors.ts';
import { admit } from './admit.ts';
import { awaitGuest } from './await-guest.ts';
import { branch } from './branch.ts';
import { claim } from './claim.ts';
import type { EffectContext } from './context.ts';
import { kill } from './kill.ts';
import { launch } from './launch.ts';
import { publish } from './publish.ts';
import { quiesce } from './quiesce.ts';
import { restore } from './restore.ts';
import { rollBack } from './roll-back.ts';
import { makeRootfs } from './rootfs.ts';
import { save } from './save.ts';
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
    // Not one by one: it waits, and must not hold up an undo.
    'vm.admit': (job, signal) => attempt<'vm.admit'>(context, 'admit', admit, job, signal),
    'vm.claim': (job, signal) =>
      context.serial.run(job.actor.id, async () => {
        await context.gate.pass(signal);
        return result(claim(context, job.actor.id, inputOf<'vm.claim'>(job)));
      }),
    'vm.slot': step<'vm.slot'>(context, 'slot', takeSlot),
    'vm.rootfs': step<'vm.rootfs'>(context, 'rootfs', makeRootfs),
    'vm.launch': step<'vm.launch'>(context, 'launch', launch),
    'vm.await_guest': step<'vm.await_guest'>(context, 'await_guest', awaitGuest),
    'vm.restore': step<'vm.restore'>(context, 'restore', restore),
    'vm.quiesce': step<'vm.quiesce'>(context, 'quiesce', quiesce),
    'vm.save': step<'vm.save'>(context, 'save', save),
    'vm.branch': step<'vm.branch'>(context, 'branch', branch),
    'vm.publish': step<'vm.publish'>(context, 'publish', publish),
    'vm.continue': step<'vm.continue'>(context, 'continue', rollBack),
    'vm.kill': undo<'vm.kill'>(context, kill),
    'vm.unroot': undo<'vm.unroot'>(context, unroot),
    'vm.unslot': undo<'vm.unslot'>(context, unslot),
  };
}

/** Steps of one VM run one after the other. */
function step<Name extends keyof VmEffects>(context: EffectContext, name: VmStep, work: Work<Name>): EffectHandler {
  return (job, signal) =>
    context.serial.run(job.actor.id, async () => {
      await context.gate.pass(signal);
      return attempt<Name>(context, name, work, job, signal);
    });
}

/**
 * A step whose failure has a known reason has failed for good; anything else is thrown, and tried again by the effect's
 * policy, as far as that goes.
 */
async function attempt<Name extends keyof VmEffects>(
  context: EffectContext,
  name: VmStep,
  work: Work<Name>,
  job: EffectJob,
  signal: AbortSignal,
): Promise<DomainEvent> {
  try {
    return await result(work(context, job.actor.id, inputOf<Name>(job), signal));
  } catch (error) {
    if (signal.aborted) throw error;
    const { code, message, retryable } = describeError(error);
    if (code === 'internal') throw error;
    context.log.warn({ vm: job.actor.id, step: name, err: error }, 'a step failed');
    return { type: 'STEP_FAILED', step: name, code, message, retryable } satisfies StepFailed;
  }
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
