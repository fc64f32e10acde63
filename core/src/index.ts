export * from './definition.ts'
export * from './runtime.ts'
