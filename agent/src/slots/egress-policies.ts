import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { EgressPolicy } from '@wrenn/actors';
import { slotEgress, slotNames } from '@wrenn/addon';
import { z } from 'zod';

export interface EgressPoliciesOptions {
  /** One file per slot that has a policy. */
  readonly folder: string;
  /** `ip:port` of the servers that resolve names for guests, as they are now. */
  readonly nameServers: () => Promise<string[]>;
}

const kept = z.object({ vm_id: z.string(), allow: z.array(z.string()), deny: z.array(z.string()) });

/**
 * What guests may reach, slot by slot (NET4). The kernel keeps the rules while this program is away; the policy is on disk
 * as well, since a policy with names needs somebody who resolves them.
 */
export class EgressPolicies {
  readonly #options: EgressPoliciesOptions;

  constructor(options: EgressPoliciesOptions) {
    this.#options = options;
  }

  /** Puts a policy in force instead of what was. Whoever asks hears of it at the end only, and asks again where he does not. */
  async enforce(index: number, vmId: string, { allow, deny }: EgressPolicy): Promise<void> {
    await slotEgress({ index, allow, deny, nameServers: await this.#options.nameServers() });
    await this.#write(index, { vm_id: vmId, allow, deny });
  }

  /** For a VM that has run on while this program was away. */
  async resume(index: number, vmId: string): Promise<void> {
    const policy = await this.#read(index);
    if (policy?.vm_id !== vmId) return;
    const { allow, deny } = policy;
    await slotNames({ index, allow, deny, nameServers: await this.#options.nameServers() });
  }

  /** The slot is gone, and its rules with it. */
  async forget(index: number): Promise<void> {
    await rm(this.#file(index), { force: true });
  }

  /** Removes the files of slots that are nobody's. */
  async prune(isHeld: (index: number) => boolean): Promise<void> {
    await mkdir(this.#options.folder, { recursive: true, mode: 0o700 });
    for (const name of await readdir(this.#options.folder)) {
      if (!isHeld(Number.parseInt(name, 10))) await rm(join(this.#options.folder, name), { force: true });
    }
  }

  async #read(index: number): Promise<z.infer<typeof kept> | null> {
    const text = await readFile(this.#file(index), 'utf8').catch(() => null);
    return text === null ? null : kept.parse(JSON.parse(text));
  }

  /** Whole or not at all. What a power cut loses went with the VM. */
  async #write(index: number, policy: z.infer<typeof kept>): Promise<void> {
    const file = this.#file(index);
    await mkdir(this.#options.folder, { recursive: true, mode: 0o700 });
    await writeFile(`${file}.new`, JSON.stringify(policy), { mode: 0o600 });
    await rename(`${file}.new`, file);
  }

  #file(index: number): string {
    return join(this.#options.folder, `${index}.json`);
  }
}
