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
const RECIPE = 1;

type SizeClass = Pick<VmSpec, 'template' | 'vcpus' | 'memory_mb' | 'disk_size_mb'>;

export interface TemplatesOptions {
  readonly files: AgentFiles;
  readonly images: Images;
  readonly vmm: Vmm;
  readonly snapshots: Snapshots;
  readonly log: Logger;
  readonly runtime: () => Runtime;
}

/**
 * Boot snapshots: a template and size class is booted once, on first use, by a `vm` actor of purpose `boot` whose id is
 * `boot.<digest>.<attempt>`; every later start is restored from what it leaves in `snapshots/boot.<digest>/`. The digest is
 * over everything that it is made of, so that another kernel, image, VMM or envd has another one.
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
      return (await this.madeOf(manifest)) === manifest.made_of;
    } catch {
      return false; // its image is gone
    }
  }

  /** The id that the class's boot snapshot has, or would have. */
  async idOf(spec: SizeClass): Promise<string> {
    const digest = createHash('sha256')
      .update(await this.madeOf(spec))
      .digest('hex');
    return `boot.${digest.slice(0, 16)}`;
  }

  /** The id of the class's boot snapshot, which is there when it resolves; made now where it is not, once for all who ask. */
  async ensure(spec: SizeClass, signal: AbortSignal): Promise<string> {
    const id = await this.idOf(spec);
    if ((await this.#options.snapshots.find(id)) !== null) return id;
    const making = this.#making.get(id) ?? this.#make(id, spec);
    this.#making.set(id, making);
    making.catch(() => {}).finally(() => this.#making.delete(id));
    await Promise.race([making, aborted(signal)]);
    return id;
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
