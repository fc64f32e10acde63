import { createInterface } from 'node:readline';
import {
  type ActorRef,
  createJournalRuntime,
  createPostgresRuntime,
  type DomainEvent,
  type EffectHandler,
} from '../index.ts';
import { parcel } from './parcel.ts';

/**
 * A process that runs a runtime, to be killed: `node runtime-child.ts <postgres URL | journal folder>`. One JSON line in is
 * one command, one JSON line out its answer. An effect of an actor whose name has `stuck` in it never ends; each start of
 * one is a line too.
 */
const [, , where = ''] = process.argv;
const say = (line: unknown) => process.stdout.write(`${JSON.stringify(line)}\n`);

const pack: EffectHandler = ({ actor, key, attempt, epoch }, signal) => {
  say({ effect: key, attempt, epoch });
  if (!actor.id.includes('stuck')) return Promise.resolve({ type: 'PACKED', weight: 5 });
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
};
const common = { definitions: [parcel], handlers: { pack } };
const runtime = where.startsWith('postgres')
  ? createPostgresRuntime({ connection: where, ...common })
  : createJournalRuntime({ dir: where, lock: async () => ({ release: () => undefined }), ...common });
await runtime.start();
say({ ready: true });

interface Command {
  readonly n: number;
  readonly to: ActorRef;
  readonly event: DomainEvent;
  readonly messageId?: string;
}
createInterface({ input: process.stdin }).on('line', (line) => {
  const { n, to, event, messageId } = JSON.parse(line) as Command;
  const options = { cause: { type: 'user', id: 'usr-1' } as const, ...(messageId === undefined ? {} : { messageId }) };
  runtime.ask(to, event, options).then(
    (answer) => say({ n, answer }),
    (error: Error) => say({ n, error: error.message }),
  );
});
