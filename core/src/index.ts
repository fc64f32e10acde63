export * from './definition.ts'
export * from './runtime.ts'
export * from './xstate.ts'
