import type { ActorRef, ActorView, Json } from '../definition.ts';
import { WrennError } from '../errors.ts';
import type { ActorState, EffectRow, Ledger, TimerRow } from './actor-state.ts';
import type { PreparedMachine } from './prepared-machine.ts';
import { pathOf, publicContextOf } from './view.ts';

/** The actor's row, as both stores keep it. */
export interface ActorRow {
  readonly kind: string;
  readonly id: string;
  readonly seq: number;
  readonly machineVersion: number;
  readonly state: Json;
  readonly path: string;
  readonly tags: readonly string[];
  readonly snapshot: Json;
  readonly ledger: Ledger;
  readonly teamId: string | null;
  readonly createdAt: number;
  readonly since: number;
  readonly updatedAt: number;
  readonly done: boolean;
}

export function actorRow(machine: PreparedMachine, state: ActorState): ActorRow {
  return {
    kind: state.ref.kind,
    id: state.ref.id,
    seq: state.seq,
    machineVersion: state.machineVersion,
    state: state.snapshot.value as Json,
    path: state.path,
    tags: [...state.snapshot.tags] as string[],
    snapshot: machine.persist(state.snapshot) as Json,
    ledger: state.ledger,
    teamId: state.teamId,
    createdAt: state.createdAt,
    since: state.since,
    updatedAt: state.updatedAt,
    done: state.snapshot.status === 'done',
  };
}

/** An actor back in memory: its snapshot passed through the upcasters, its timers and effects as they are stored. */
export function restoreActor(
  machine: PreparedMachine,
  row: ActorRow,
  timers: readonly TimerRow[],
  effects: readonly EffectRow[],
): ActorState {
  const ref: ActorRef = { kind: row.kind, id: row.id };
  const snapshot = machine.restore(upcast(machine, row) as object);
  return {
    ref,
    seq: row.seq,
    snapshot,
    machineVersion: machine.definition.version,
    ledger: { ...row.ledger },
    timers: new Map(timers.map((timer) => [timer.name, timer])),
    effects: new Map(effects.map((effect) => [effect.number, effect])),
    createdAt: row.createdAt,
    since: row.since,
    updatedAt: row.updatedAt,
    path: pathOf(snapshot),
    teamId: row.teamId,
    publicContext: publicContextOf(machine.definition, snapshot.context),
  };
}

/** The stored row as readers see it. */
export function rowView(machine: PreparedMachine, row: ActorRow): ActorView {
  const { snapshot, ledger: _, ...shown } = row;
  if (row.machineVersion === machine.definition.version) {
    return { ...withoutTeam(shown), context: (snapshot as { context: Json }).context };
  }
  const state = machine.restore(upcast(machine, row) as object);
  return {
    ...withoutTeam(shown),
    state: state.value as Json,
    path: pathOf(state),
    tags: [...state.tags] as string[],
    context: state.context as Json,
    machineVersion: machine.definition.version,
  };
}

function withoutTeam<T extends { teamId: unknown }>({ teamId: _, ...rest }: T): Omit<T, 'teamId'> {
  return rest;
}

function upcast({ definition }: PreparedMachine, row: ActorRow): Json {
  if (row.machineVersion > definition.version) {
    throw new WrennError('unavailable', `${row.kind} ${row.id} was written by a newer version of this program`);
  }
  let { snapshot } = row;
  for (let version = row.machineVersion; version < definition.version; version += 1) {
    const upcaster = definition.upcasters?.[version];
    if (!upcaster) throw new WrennError('machine_error', `${row.kind} has no upcaster from version ${version}`);
    snapshot = upcaster(snapshot);
  }
  return snapshot;
}
