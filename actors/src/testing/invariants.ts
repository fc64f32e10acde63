import assert from 'node:assert/strict';
import type { ActorInMemory } from './actor-in-memory.ts';

/** What must hold after every commit of every actor, whatever happened (I3, I4, I7, I8). */
export function checkActor(actor: ActorInMemory<never>): void {
  const where = `${actor.ref.kind} ${actor.ref.id} in ${actor.path}`;
  const active = new Set(actor.snapshot._nodes.map(({ path }) => path.join('.')));

  for (const timer of actor.timers) assert(active.has(timer.node), `${where}: timer of ${timer.node} is still set`);
  for (const effect of actor.effects) {
    assert(active.has(effect.node), `${where}: effect ${effect.name} is open outside ${effect.node} (I4)`);
    assert.equal(
      effect.status,
      'open',
      `${where}: effect ${effect.name} is parked: the machine did not take its result`,
    );
  }
  const names = actor.effects.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length, `${where}: an effect is open twice: ${names.join(', ')}`);

  for (const node of actor.snapshot._nodes) {
    if (!node.tags.includes('work') || node.type !== 'atomic') continue;
    const chain = [node.path.join('.')];
    for (let up = node.parent; up; up = up.parent) chain.push(up.path.join('.'));
    const armed = actor.timers.some((timer) => chain.includes(timer.node));
    assert(armed, `${where}: ${chain[0]} is work without a deadline (I3)`);
  }

  for (const [id, answers] of actor.answers) {
    assert.equal(answers.length, 1, `${where}: ${id} was answered ${answers.length} times (I8)`);
    const [answer] = answers;
    const code = answer?.ok === false ? answer.error.code : null;
    assert.notEqual(code, 'actor_done', `${where}: ${id} was forgotten by the machine (I8)`);
  }
}

/** Every command that was accepted has its answer (I8). Holds where nothing is being done for the asker any more. */
export function checkAllAnswered(actor: ActorInMemory<never>): void {
  assert.deepEqual(actor.owed, [], `${actor.ref.kind} ${actor.ref.id} in ${actor.path} still owes answers (I8)`);
}

/** The journal replayed from the start gives the stored state (I7). */
export function checkReplay(actor: ActorInMemory<never>): void {
  const again = actor.replayed();
  const stored = (one: ActorInMemory<never>) => ({
    view: one.view,
    timers: one.timers,
    effects: one.effects,
    owed: one.owed,
  });
  assert.deepEqual(stored(again), stored(actor), `${actor.ref.kind} ${actor.ref.id}: replay differs (I7)`);
}
