import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from '@wrenn/core';
import type { AgentFiles } from './files.ts';
import type { RootfsStore } from './rootfs/store.ts';
import type { Vmm } from './vmm/vmm.ts';

/** An image that was being written (flatten-rootfs.ts). */
const IMAGE_ASIDE = /^\..*\.new$/;

/**
 * Ends the VMMs and removes the files of this root that no actor owns (I5): what an agent left that died between an
 * act and its commit and whose journal is gone, for the undo list covers all else; and images that were never finished.
 */
export async function releaseOrphans(
  { vmm, rootfs, files, log }: { vmm: Vmm; rootfs: RootfsStore; files: AgentFiles; log: Logger },
  owned: ReadonlySet<string>,
): Promise<void> {
  for (const [vmId, process] of await vmm.running()) {
    if (owned.has(vmId)) continue;
    log.warn({ vm: vmId, vmm_pid: process.pid }, 'a VMM that nobody owns is ended');
    await vmm.destroy(process);
  }
  for (const name of await readdir(files.sandboxes)) {
    if (owned.has(name)) continue;
    log.warn({ vm: name }, 'files that nobody owns are removed');
    await rootfs.release(files.sandbox(name));
    await rm(join(files.sandboxes, name), { recursive: true, force: true });
  }
  const left = await readdir(files.sandboxes);
  await rootfs.releaseOrphans(left.map((name) => files.sandbox(name)));
  for (const name of await readdir(files.images)) {
    if (!IMAGE_ASIDE.test(name)) continue;
    log.warn({ file: name }, 'an image that was never finished is removed');
    await rm(join(files.images, name), { force: true });
  }
}
