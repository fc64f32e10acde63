import type { components } from '@wrenn/sdk/openapi';

export type User = components['schemas']['User'];
export type Team = components['schemas']['Team'];

interface Kept {
  readonly token: string;
  readonly expires_at: string;
  readonly user: User;
  readonly team: Team;
}

const STORAGE = 'wrenn.session';
const REFUSED = 'wrenn.session-refused';

/** Who is signed in. Kept for other tabs and after a reload, until it is signed out or the token ends. */
class Session {
  #kept = $state.raw<Kept | null>(load());
  #refused = $state(sessionStorage.getItem(REFUSED) !== null);

  constructor() {
    addEventListener('storage', ({ key }) => {
      if (key === STORAGE) this.#kept = load();
    });
  }

  get token(): string | null {
    return this.#kept?.token ?? null;
  }
  get user(): User | null {
    return this.#kept?.user ?? null;
  }
  get team(): Team | null {
    return this.#kept?.team ?? null;
  }

  /** It was ended by the server, not by who was signed in. This tab knows it until somebody signs in, also after a reload. */
  get refused(): boolean {
    return this.#refused;
  }

  begin(kept: Kept): void {
    this.#kept = kept;
    this.#setRefused(false);
    localStorage.setItem(STORAGE, JSON.stringify(kept));
  }

  end({ refused = false } = {}): void {
    this.#kept = null;
    this.#setRefused(refused);
    localStorage.removeItem(STORAGE);
  }

  #setRefused(refused: boolean): void {
    this.#refused = refused;
    if (refused) sessionStorage.setItem(REFUSED, '1');
    else sessionStorage.removeItem(REFUSED);
  }
}

function load(): Kept | null {
  try {
    const kept = JSON.parse(localStorage.getItem(STORAGE) ?? 'null') as Kept | null;
    return kept && Date.parse(kept.expires_at) > Date.now() ? kept : null;
  } catch {
    return null; // something else wrote there
  }
}

export const session = new Session();
