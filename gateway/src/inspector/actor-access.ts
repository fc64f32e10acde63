import type { ActorView } from '@wrenn/core';
import type { KeyAuth, UserAuth } from '../http/auth.ts';
import { forbidden, notFound } from '../http/problems.ts';
import type { Services } from '../services.ts';
import { loadMirror } from './vm-mirrors.ts';

/** An actor as the inspector shows it, wherever it lives. */
export interface SeenActor {
  readonly view: ActorView;
  readonly teamId: string | null;
  /** Set for a `vm`, which lives on a host: what is shown is a copy. */
  readonly mirrorOf: string | null;
}

/** A team sees its own actors, a platform admin every one, platform hosts included (API11). */
export function maySee(auth: KeyAuth | UserAuth, teamId: string | null): boolean {
  return auth.isAdmin || teamId === auth.teamId;
}

/** The team whose actors a list shows; null = all, for platform admins who ask for it. */
export function listedTeam(auth: KeyAuth | UserAuth, all: boolean): string | null {
  if (!all) return auth.teamId;
  if (!auth.isAdmin) throw forbidden('Only a platform admin may look at all teams.');
  return null;
}

/** The same 404 for unknown, foreign and unknown kinds. */
export async function findActor(
  services: Services,
  auth: KeyAuth | UserAuth,
  { kind, id }: { readonly kind: string; readonly id: string },
): Promise<SeenActor> {
  const seen = kind === 'vm' ? await loadMirror(services.sql, id) : await loadActor(services, kind, id);
  if (!seen || !maySee(auth, seen.teamId)) throw notFound('No such actor.');
  return seen;
}

async function loadActor({ runtime }: Services, kind: string, id: string): Promise<SeenActor | null> {
  const definition = runtime.definitions.get(kind);
  const view = definition ? await runtime.read({ kind, id }) : null;
  return view && { view, teamId: definition?.teamOf?.(view.context) ?? null, mirrorOf: null };
}
