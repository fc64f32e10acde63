import { needsOf, refusalOf, type VmmFacts } from './snapshot-needs.ts';
import type { SnapshotNeeds, VmmExit, VmmIdentity, VmmProcess } from './vmm.ts';
import { endProcess, VmmProcesses, watchProcess } from './vmm-process.ts';

/** What all drivers do alike: a VMM is a process of this host. See `Vmm`. */
export abstract class ProcessDriver {
  readonly identity: VmmIdentity;
  readonly needs: SnapshotNeeds;
  protected readonly processes: VmmProcesses;
  readonly #vmms: string;

  /** `tasks`: threads that a VMM may have. */
  constructor(facts: VmmFacts, tasks: number) {
    const { identity, files, devices } = facts;
    this.identity = identity;
    this.needs = needsOf(facts);
    this.#vmms = files.vmms;
    this.processes = new VmmProcesses({ name: identity.name, files, devices, digest: identity.digest, tasks });
  }

  refusal(needs: SnapshotNeeds): Promise<string | null> {
    return refusalOf(needs, this.needs, this.#vmms);
  }

  destroy(process: VmmProcess): Promise<void> {
    return endProcess(process);
  }

  watch(process: VmmProcess, ended: (exit: VmmExit) => void): void {
    watchProcess(process, ended);
  }

  running(): Promise<ReadonlyMap<string, VmmProcess>> {
    return this.processes.running();
  }
}
