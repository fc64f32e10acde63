import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { VmContext, VmSpec } from '@wrenn/actors';
import { vmStatus } from '@wrenn/actors';
import type { ActorView, Logger, Runtime } from '@wrenn/core';
import { AgentError } from '../errors.ts';
import type { AgentFiles } from '../files.ts';
import { vmIdOf } from '../incarnations.ts';
import type { Images } from '../rootfs/images.ts';
import type { Vmm } from '../vmm/vmm.ts';
import type { Manifest } from './manifest.ts';
import type { Snapshots } from './snapshots.ts';

/**
 * One cold boot on a busy machine, and what it takes to write its memory. The services of `code-interpreter` take a minute
 * and a half of processor time under emulation.
 */
const BOOT_BUDGET_MS = 600_000;
/** Raised when a boot snapshot is made in another way. */
const RECIPE = 2;

/** In `made_of` of a copy that one team has for itself, before the team. */
const FOR_TEAM = ' team=';

type SizeClass = Pick<VmSpec, 'template' | 'vcpus' | 'memory_mb' | 'disk_size_mb'>;

export interface TemplatesOptions {
  readonly files: AgentFiles;
  readonly images: Images;
  readonly vmm: Vmm;
  readonly snapshots: Snapshots;
  /** Each team starts from a copy of its own, whose pages no other team has in memory. */
  readonly isolateTeams: boolean;
  readonly log: Logger;
  readonly runtime: () => Runtime;
}

/**
 * Boot snapshots: a template and size class is booted once, on first use, by a `vm` actor of purpose `boot` whose id is
 * `boot.<digest>.<attempt>`; every later start is restored from what it leaves in `snapshots/boot.<digest>/`. The digest is
 * over everything that it is made of, so that another kernel, image, VMM or envd has another one. Where teams are isolated
 * each has a copy of it, with a digest over the team as well.
 */
export class Templates {
  readonly #options: TemplatesOptions;
  readonly #making = new Map<string, Promise<void>>();
  readonly #booting = new Map<string, { readonly sandbox_id: string; readonly incarnation: number }>();
  #closed = false;

  constructor(options: TemplatesOptions) {
    this.#options = options;
  }

  /** No boot from now on. Returns those under way, of which the journal may not know yet. */
  close(): { readonly sandbox_id: string; readonly incarnation: number }[] {
    this.#closed = true;
    return [...this.#booting.values()];
  }

  /** Everything that the boot snapshot of a class is made of, as one line. */
  async madeOf({ template, vcpus, memory_mb, disk_size_mb }: SizeClass): Promise<string> {
    const { images, files, vmm } = this.#options;
    const { path } = await images.find(template);
    const [image, initrd] = [await identityOf(path), await identityOf(join(files.kernels, 'initrd'))];
    const needs = Object.entries(vmm.needs).map(([name, value]) => `${name}=${value}`);
    return [`recipe ${RECIPE}`, template, vcpus, memory_mb, disk_size_mb, image, initrd, ...needs].join(' ');
  }

  /** Whether the class of this boot snapshot would be made of the same today. */
  async isCurrent(manifest: Manifest): Promise<boolean> {
    try {
      const madeOf = await this.madeOf(manifest);
      return manifest.made_of === madeOf || (this.#options.isolateTeams && isOfTeam(manifest, madeOf));
    } catch {
      return false; // its image is gone
    }
  }

  /** The id that the class's boot snapshot has, or would have. */
  async idOf(spec: SizeClass): Promise<string> {
    return idFrom(await this.madeOf(spec));
  }

  /** The id of the boot snapshot for this start, which is there when it resolves; made now where it is not, once for all who ask. */
  async ensure(spec: SizeClass & Pick<VmSpec, 'team_id'>, signal: AbortSignal): Promise<string> {
    const { isolateTeams, snapshots } = this.#options;
    const madeOf = await this.madeOf(spec);
    const shared = idFrom(madeOf);
    await this.#ensure(shared, () => this.#make(shared, spec), signal);
    if (!isolateTeams || spec.team_id === '') return shared;
    const forTeam = madeOf + FOR_TEAM + spec.team_id;
    const own = idFrom(forTeam);
    await this.#ensure(own, () => snapshots.separate(shared, own, forTeam), signal);
    return own;
  }

  async #ensure(id: string, make: () => Promise<void>, signal: AbortSignal): Promise<void> {
    if ((await this.#options.snapshots.find(id)) !== null) return;
    const making = this.#making.get(id) ?? make();
    this.#making.set(id, making);
    making.catch(() => {}).finally(() => this.#making.delete(id));
    await Promise.race([making, aborted(signal)]);
  }

  async #make(id: string, { template, vcpus, memory_mb, disk_size_mb }: SizeClass): Promise<void> {
    const { runtime, log } = this.#options;
    const attempt = await this.#attempt(id);
    const vmId = vmIdOf(id, attempt);
    log.info({ vm: vmId, template, vcpus, memory_mb, disk_size_mb }, 'a template is booted, for its boot snapshot');
    const nobody = { envs: {}, access_token: '', default_user: '', hostname: 'wrenn', team_id: '' };
    const spec: VmSpec = { template, vcpus, memory_mb, disk_size_mb, ...nobody };
    const event = {
      ...{ type: 'CREATE', sandbox_id: id, incarnation: attempt, key: vmId, epoch: 0, spec, budget_ms: BOOT_BUDGET_MS },
      ...{ purpose: 'boot', source: { kind: 'kernel' }, claim: null },
    };
    const cause = { type: 'system', name: 'template' } as const;
    if (this.#closed) throw new AgentError('unavailable', 'the agent is ending', { retryable: true });
    this.#booting.set(vmId, { sandbox_id: id, incarnation: attempt });
    const answer = await runtime()
      .ask({ kind: 'vm', id: vmId }, event, { cause })
      .finally(() => this.#booting.delete(vmId));
    if (answer.ok) return;
    const { code, message } = answer.error;
    const words = `the boot snapshot of the template ${template} could not be made: ${message}`;
    throw new AgentError(code, words, { retryable: true });
  }

  /** The one that is under way, after a restart of this program, or the next one. */
  async #attempt(id: string): Promise<number> {
    for (let attempt = 1; ; attempt++) {
      const view = await this.#options.runtime().read({ kind: 'vm', id: vmIdOf(id, attempt) });
      if (view === null || vmStatus(view as ActorView<VmContext>) !== 'gone') return attempt;
    }
  }
}

function idFrom(madeOf: string): string {
  return `boot.${createHash('sha256').update(madeOf).digest('hex').slice(0, 16)}`;
}

function isOfTeam(manifest: Manifest, madeOf: string): boolean {
  return manifest.made_of?.startsWith(madeOf + FOR_TEAM) ?? false;
}

/** Changes whenever the file does, or another takes its place. */
async function identityOf(path: string): Promise<string> {
  const { ino, size, mtimeNs } = await stat(path, { bigint: true });
  return `${ino}:${size}:${mtimeNs}`;
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
