import { type Claim, isDone, type Move, type Named, restOf, sayClaim } from './claim.ts';
import { type Client, childrenOf } from './client.ts';
import type { Finding } from './finding.ts';

/** A sandbox as the database has it when all is at rest. */
export interface AtRest {
  readonly id: string;
  readonly status: string;
  readonly reason: { readonly code?: string; readonly message?: string } | null;
}

/** An agent that got through to no control plane for 90 s is no host to place on, and lost for what is being started there. */
const HOST_AWAY: ReadonlySet<string | null | undefined> = new Set(['no_hosts_available', 'host_unreachable']);
/**
 * What docs/snapshots.md says of a pause or branch whose agent died in the middle, and of one whose guest was not given the
 * processor for seconds: it is given up, and the sandbox runs on.
 */
const GIVEN_UP = /the agent was restarted in the middle|the guest did not freeze its processes/;

/** What those hear that waited for a boot whose VMM was killed. */
const BOOT_FAILED =
  /^the boot snapshot of the template .* could not be made: the VMM (was ended by SIGKILL|ended with code unknown)/;

export interface Known {
  readonly claims: readonly Claim[];
  readonly rows: readonly AtRest[];
  /** Sandboxes whose VMM was killed, and VMs that booted a template. */
  readonly killed: ReadonlySet<string>;
}

/** Each command that was answered stands: what was made is there once, and only what was destroyed or killed has ended. */
export function claimsKept({ claims, rows, killed }: Known): Finding[] {
  const found: Finding[] = [];
  const isBootKilled = [...killed].some((id) => id.startsWith('boot.'));
  const byId = new Map(rows.map((row) => [row.id, row]));
  for (const claim of claims) {
    const { status, id, destroy } = claim;
    const row = id === null ? undefined : byId.get(id);
    const facts = `${sayClaim(claim)}; now ${row?.status} ${JSON.stringify(row?.reason ?? null)}`;
    const say = (what: string) => found.push({ line: `${what}: ${facts}`, ids: id === null ? [] : [id] });
    if (status === null) say('I8: never answered');
    else if (!row) {
      // A child that was never begun has its error, and no more.
      if (claim.create !== null || status === 201) say('lost');
    } else if (destroy === 'asked') say('a DELETE was refused');
    else if (destroy === 'done' && row.status !== 'stopped') say('lost a DELETE');
    else if (isBootKilled && BOOT_FAILED.test(row.reason?.message ?? '')) continue;
    else if (!killed.has(row.id) && !refusedForHost(claim, row)) {
      if (status !== 201 || claim.moves.some((move) => !isExcused(move))) say('failed without a reason of the storm');
      else if (destroy === 'no' && row.status !== restOf(claim)) say('lost');
    }
  }
  const known = new Set(claims.map(({ id }) => id));
  for (const { id } of rows) if (!known.has(id)) found.push({ line: `doubled: ${id} is of no command`, ids: [id] });
  return found;
}

function refusedForHost({ code }: Claim, { reason }: AtRest): boolean {
  return HOST_AWAY.has(code) || HOST_AWAY.has(reason?.code);
}

function isExcused(move: Move): boolean {
  return move.status === 0 || isDone(move) || HOST_AWAY.has(move.code) || GIVEN_UP.test(move.message ?? '');
}

/** I2: what was named is a template until it is deleted, and starts. */
export async function namedKept(client: Client, named: readonly Named[]): Promise<Finding[]> {
  const found: Finding[] = [];
  const there = new Set<string>();
  for (let cursor: string | null = ''; cursor !== null; ) {
    const from: string = cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`;
    const { body } = await client.call('GET', `/v1/templates?type=snapshot&limit=100${from}`);
    for (const { name } of body.items) there.add(name);
    cursor = body.next_cursor ?? null;
  }
  for (const { name, sandboxId, deleted } of named) {
    const say = (what: string) => found.push({ line: `${what}: the snapshot ${name}`, ids: [sandboxId] });
    if (deleted && there.has(name)) say('I2: deleted, and still there');
    if (deleted) continue;
    if (!there.has(name)) say('I2: lost');
    else {
      const { status, body } = await client.call('POST', '/v1/sandboxes', { template: name });
      if (status !== 201) say(`I2: does not start (${status} ${JSON.stringify(body)})`);
      else await client.call('DELETE', `/v1/sandboxes/${body.id}`);
    }
  }
  return found;
}

/** I8: the same command again gets the same answer. */
export async function sameAnswers(
  client: Client,
  { claims, rows }: Pick<Known, 'claims' | 'rows'>,
): Promise<Finding[]> {
  const found: Finding[] = [];
  const lives = new Set(rows.filter(({ status }) => ['running', 'paused'].includes(status)).map(({ id }) => id));
  for (const claim of claims) {
    if (claim.create !== null) {
      const { status, body } = await client.create(claim);
      const id = body?.id ?? body?.error?.details?.sandbox_id ?? null;
      const code = body?.error?.code ?? null;
      if (status !== claim.status || id !== claim.id || code !== claim.code) {
        found.push({ line: `I8: ${sayClaim(claim)}; now ${status} ${code} ${id}`, ids: [claim.id ?? ''] });
      }
    }
    if (!lives.has(claim.id ?? '')) continue; // the forks of what has ended cannot be asked for again
    for (const move of claim.moves.filter(({ path, status }) => path === 'fork' && status === 201)) {
      const { status, body } = await client.move(claim, move);
      const ids = status === 201 ? childrenOf(body).map(({ id }) => id) : [];
      if (ids.join() !== move.children.map(({ id }) => id).join()) {
        found.push({
          line: `I8: ${sayClaim(claim)}; ${move.key} again: ${status} ${ids.join()}`,
          ids: [claim.id ?? ''],
        });
      }
    }
  }
  return found;
}
