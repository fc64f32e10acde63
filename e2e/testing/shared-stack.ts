import { inject } from 'vitest';
import './global-setup.ts'; // declares what is provided
import { SHARED_SLOTS, type Stack, startTestStack } from './stack.ts';

/** The run's stack, whole: what an earlier test has killed of it is started again. */
export function sharedStack(): Promise<Stack> {
  return startTestStack(inject('stackDir'), SHARED_SLOTS);
}
