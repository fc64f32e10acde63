import type { Logger } from '@wrenn/core';
import type { AgentFiles } from '../files.ts';
import type { Vmm } from '../vmm/vmm.ts';
import { sweepVmms } from '../vmm/vmm-folder.ts';
import type { Snapshots } from './snapshots.ts';
import type { Templates } from './templates.ts';

/** Nothing waits for it: it frees disk space. */
const INTERVAL_MS = 600_000;

export interface SweeperOptions {
  readonly files: AgentFiles;
  readonly snapshots: Snapshots;
  readonly templates: Templates;
  readonly vmm: Vmm;
  readonly log: Logger;
}

/** Removes snapshots and VMMs that nobody needs any more, at the start and then from time to time. */
export class Sweeper {
  readonly #options: SweeperOptions;
  #timer: NodeJS.Timeout | undefined;
  #sweeping: Promise<void> = Promise.resolve();

  constructor(options: SweeperOptions) {
    this.#options = options;
  }

  /** The first sweep is over when it resolves: also what was never finished is gone. No effect runs yet. */
  async start(): Promise<void> {
    await this.#sweep(true);
    this.#timer = setInterval(() => {
      this.#sweeping = this.#sweep(false);
    }, INTERVAL_MS);
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#sweeping;
  }

  async #sweep(atStart: boolean): Promise<void> {
    const { files, snapshots, templates, vmm, log } = this.#options;
    try {
      await snapshots.sweep((manifest) => templates.isCurrent(manifest), atStart);
      // While VMs are being started, one may need a VMM of which no file tells yet.
      if (atStart) await sweepVmms(files.vmms, (await snapshots.neededVmms()).add(vmm.identity.digest));
    } catch (error) {
      log.warn({ err: error }, 'what nobody needs could not be swept');
    }
  }
}
