import type { z } from 'zod';
import type { Services } from '../services.ts';
import type { SeenActor } from './actor-access.ts';
import { type actorDetail, commandJson, contextJson, effectJson, summaryJson, timerJson } from './actor-json.ts';
import { listMirrorsOf } from './vm-mirrors.ts';

/** Everything the inspector shows of one actor. */
export async function describeActor(
  services: Services,
  { view, teamId, mirrorOf }: SeenActor,
): Promise<z.output<typeof actorDetail>> {
  const { runtime, sql } = services;
  const ref = { kind: view.kind, id: view.id };
  const own = mirrorOf === null;
  const [timers, effects, vms] = await Promise.all([
    own ? runtime.timers(ref) : [],
    own ? runtime.effects(ref) : [],
    view.kind === 'sandbox' ? listMirrorsOf(sql, view.id) : [],
  ]);
  return {
    ...summaryJson(view),
    team_id: teamId,
    host_id: mirrorOf,
    context: contextJson(runtime, view),
    timers: timers.map(timerJson),
    effects: effects.map(effectJson),
    commands: own ? runtime.legalCommands(view).map(commandJson) : [],
    vms: vms.map(summaryJson),
  };
}
