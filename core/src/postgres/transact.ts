import type pg from 'pg';
import type { ActorRef, DomainEvent } from '../definition.ts';
import type { Engine } from '../engine/engine.ts';
import { envelopeOf } from '../engine/envelope.ts';
import { forgetState } from '../engine/resident.ts';
import { WrennError } from '../errors.ts';
import type { SendOptions, Transaction } from '../runtime.ts';
import type { Committer } from './committer.ts';
import type { PostgresStore } from './postgres-store.ts';

export interface TransactOptions extends SendOptions {
  readonly within: (tx: Transaction) => Promise<boolean>;
}

/** The actor's step and the caller's SQL in one transaction, between two of the actor's commits. */
export function transact(
  { engine, store, committer, pool }: { engine: Engine; store: PostgresStore; committer: Committer; pool: pg.Pool },
  to: ActorRef,
  event: DomainEvent,
  options: TransactOptions,
): Promise<'committed' | 'rolled_back'> {
  const envelope = envelopeOf(to, event, options, false);
  if (store.epochOf(to) === null) {
    return Promise.reject(new WrennError('not_owner', `${to.kind} ${to.id} is owned by another replica`));
  }
  return engine.exclusively(to, async (resident) => {
    options.signal?.throwIfAborted();
    const commit = engine.foldOne(resident, envelope);
    if (!commit) return 'rolled_back';
    const client = await pool.connect();
    let broken: Error | undefined;
    try {
      await client.query('begin');
      const wanted = await options.within(client as unknown as Transaction);
      const [outcome] = wanted ? await committer.write(client, [commit]) : [];
      const committed = outcome?.type === 'committed';
      await client.query(committed ? 'commit' : 'rollback');
      if (!committed) {
        forgetState(resident);
        return 'rolled_back';
      }
    } catch (error) {
      broken = error as Error;
      await client.query('rollback').then(
        () => {
          broken = undefined;
        },
        () => undefined,
      );
      throw error;
    } finally {
      client.release(broken);
    }
    engine.committed(commit);
    store.announce([commit]);
    return 'committed';
  });
}
