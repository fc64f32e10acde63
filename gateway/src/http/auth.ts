import type { Cause } from '@wrenn/core';

/** Auth kinds of spec §6: `K` API key, `J` user JWT, `H` host token, `A` user JWT of a platform admin, `-` nobody needs to be known. */
export type AuthKind = 'K' | 'J' | 'H' | 'A' | '-';

export type Role = 'owner' | 'admin' | 'member';

/** A key acts as its team, never as a person or admin (ID3). */
export interface KeyAuth {
  readonly kind: 'K';
  readonly teamId: string;
  readonly keyId: string;
  readonly isAdmin: false;
  readonly cause: Cause;
}

/** A signed-in person in one team; role and admin flag were read from the database for this request (ID2). */
export interface UserAuth {
  readonly kind: 'J';
  readonly teamId: string;
  readonly userId: string;
  readonly role: Role;
  readonly sessionId: string;
  readonly isAdmin: boolean;
  readonly cause: Cause;
}

/** A registered host agent (H2). `teamId` is null for platform hosts. */
export interface HostAuth {
  readonly kind: 'H';
  readonly teamId: string | null;
  readonly hostId: string;
  readonly isAdmin: false;
  readonly cause: Cause;
}

export type Auth = KeyAuth | UserAuth | HostAuth;

interface AuthByKind {
  K: KeyAuth;
  J: UserAuth;
  A: UserAuth;
  H: HostAuth;
  '-': null;
}

/** What a handler is given for the kinds its route lists: `['K', 'J']` → `KeyAuth | UserAuth`. */
export type AuthFor<Kinds extends readonly AuthKind[]> = AuthByKind[Kinds[number]];
