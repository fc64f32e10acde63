import type { ActorView } from '@wrenn/core';
import type { z } from 'zod';
import type { Services } from '../services.ts';
import type { SeenActor } from './actor-access.ts';
import { type actorDetail, commandJson, contextJson, effectJson, summaryJson, timerJson } from './actor-json.ts';
import { presentMachine } from './machines.ts';
import { listMirrorsOf } from './vm-mirrors.ts';
import { whyNot } from './why-not.ts';

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
    commands: own ? commandsOf(services, view) : [],
    vms: vms.map(summaryJson),
  };
}

/** The runtime says only that a command is not possible: why, the definition knows, or the machine tells. */
function commandsOf({ runtime }: Services, view: ActorView) {
  const definition = runtime.definitions.get(view.kind);
  return runtime.legalCommands(view).map((command) => {
    if (command.legal) return commandJson(command);
    const reason =
      definition?.explain?.(view, command.type) ?? whyNot(presentMachine(view.kind), view.path, command.type);
    return commandJson({ ...command, reason });
  });
}
