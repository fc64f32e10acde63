import { type ActorSummary, api, ok } from '../lib/api.ts';

const MOST = 200;

/** Who is past a deadline, or has an effect that was given up: asked for when somebody looks. */
export class Stuck {
  items = $state.raw<ActorSummary[] | null>(null);
  lookedAt = $state(0);
  error = $state.raw<unknown>(null);
  readonly #everyTeam: boolean;

  constructor(everyTeam: boolean) {
    this.#everyTeam = everyTeam;
    this.look();
  }

  get ids(): ReadonlySet<string> {
    return new Set(this.items?.map(({ id }) => id));
  }

  async look(): Promise<void> {
    try {
      const query = { stuck: 'true', limit: MOST, ...(this.#everyTeam && { all: 'true' as const }) } as const;
      this.items = (await ok(api.GET('/v1/actors', { params: { query } }))).items;
      this.lookedAt = Date.now();
      this.error = null;
    } catch (error) {
      this.error = error;
    }
  }
}
