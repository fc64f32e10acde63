import type { ActorDefinition } from './definition.ts';
import type { Logger } from './log.ts';
import type { EffectHandler } from './runtime.ts';

/** What both runtimes are given. */
export interface RuntimeOptions {
  readonly definitions: readonly ActorDefinition[];
  /** By effect name. An effect without a handler is given up at once. */
  readonly handlers: Readonly<Record<string, EffectHandler>>;
  readonly log?: Logger;
}
