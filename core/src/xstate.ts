/** The parts of XState that machines and their tests use. Only this room imports `xstate` at run time. */

export type { AnyMachineSnapshot, AnyStateMachine, AnyStateNode } from 'xstate';
export {
  and,
  assign,
  enqueueActions,
  initialTransition,
  not,
  or,
  raise,
  setup,
  stateIn,
  transition,
} from 'xstate';
