import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { isSandboxVm, type VmContext } from '@wrenn/actors';
import type { ActorView, Logger } from '@wrenn/core';
import { Activity } from './activity.ts';
import { adoptVms } from './adopt.ts';
import { type AgentSettings, warmPoolOf } from './config.ts';
import { ConsoleKeeper } from './console-keeper.ts';
import { Admission } from './effects/admission.ts';
import type { EffectContext } from './effects/context.ts';
import { vmEffectHandlers } from './effects/handlers.ts';
import { PhaseTimes } from './effects/phase-times.ts';
import { Serial } from './effects/serial.ts';
import { watchVmm } from './effects/watch-vmm.ts';
import type { AgentFiles } from './files.ts';
import { Front } from './front.ts';
import { Gate } from './gate.ts';
import { Incarnations, vmIdOf } from './incarnations.ts';
import { LiveVms } from './live-vms.ts';
import { releaseOrphans } from './orphans.ts';
import { Recorder } from './recorder.ts';
import { chooseDisks, type DiskKind, openStore } from './rootfs/choose.ts';
import { Images } from './rootfs/images.ts';
import type { RootfsStore } from './rootfs/store.ts';
import { EgressPolicies } from './slots/egress-policies.ts';
import { SlotPool } from './slots/pool.ts';
import { resolvers } from './slots/resolvers.ts';
import { Snapshots } from './snapshots/snapshots.ts';
import { Sweeper } from './snapshots/sweeper.ts';
import { Templates } from './snapshots/templates.ts';
import { Stalls } from './stalls.ts';
import { openVmJournal, type VmJournal } from './vm-journal.ts';
import { removeStaleCgroups } from './vmm/cgroup.ts';
import { chooseVmm } from './vmm/choose.ts';
import type { Vmm, VmmIdentity } from './vmm/vmm.ts';
import { WarmPool } from './warm-pool.ts';

export interface VmHostOptions {
  readonly settings: AgentSettings;
  readonly files: AgentFiles;
  readonly log: Logger;
  /** Default: what `chooseVmm` finds on this machine. */
  readonly vmm?: Vmm | undefined;
}

/** The VMs of this host. The service, the front and the registration are built upon it; `demo` uses it alone. */
export interface VmHost {
  readonly files: AgentFiles;
  readonly snapshots: Snapshots;
  readonly warm: WarmPool;
  readonly vmm: Vmm;
  readonly rootfs: RootfsStore;
  readonly slots: SlotPool;
  readonly front: Front;
  readonly vms: LiveVms;
  readonly activity: Activity;
  readonly incarnations: Incarnations;
  readonly journal: VmJournal;
  readonly stalls: Stalls;
  /** Destroys every VM and resolves with how many there were. */
  destroyAll(signal: AbortSignal): Promise<number>;
  /** Ends everything but the VMs, which live on (AG6). */
  stop(): Promise<void>;
}

/**
 * Opens the journal and makes it and reality agree: live VMs are adopted (VM3), what nobody owns is removed (NET3, I5),
 * and only then do the effects that were open run on.
 */
export async function startVmHost(options: VmHostOptions, signal: AbortSignal): Promise<VmHost> {
  const { settings, files, log } = options;
  await files.prepare();
  const disksFor = (name: VmmIdentity['name']) => chooseDisks(settings.WRENN_DISKS, name, files);
  const { WRENN_VMM: wanted, WRENN_FIRECRACKER_BIN: firecracker } = settings;
  const vmm = options.vmm ?? (await chooseVmm({ wanted, firecracker, files, disksFor, log }, signal));
  const images = new Images(files.images);
  const rootfs = openStore((vmm.needs.disks as DiskKind | undefined) ?? 'qcow2', images, files.root);
  const snapshots = new Snapshots(files, vmm, log);
  log.info({ vmm: vmm.identity, rootfs: rootfs.name }, 'VMM and root file system store chosen');

  const front = new Front();
  const vms = new LiveVms(front, ({ vmId }) => stalls.watch(vmId));
  const incarnations = new Incarnations();
  const admission = new Admission({
    boot: availableParallelism(),
    restore: RESTORES_PER_CORE * availableParallelism(),
  });
  const { first, last } = settings.WRENN_SLOTS;
  const egress = new EgressPolicies({
    folder: join(files.root, 'egress'),
    nameServers: () => resolvers(settings.WRENN_NAME_SERVERS),
  });
  const slots = new SlotPool({ first, last, ready: settings.WRENN_SLOT_POOL, egress, log });
  const gate = new Gate();
  const isolateTeams = settings.WRENN_ISOLATE_TEMPLATES;
  const templates = new Templates({
    ...{ files, images, vmm, snapshots, isolateTeams, log },
    runtime: () => journal.runtime,
  });
  const context: EffectContext = {
    ...{ files, vmm, rootfs, snapshots, slots, admission, vms, log, gate },
    templates,
    serial: new Serial(),
    times: new PhaseTimes(),
    runtime: () => journal.runtime,
  };
  const stalls = new Stalls(context);
  const warm = new WarmPool({
    warm: warmPoolOf(settings),
    ...{ waiting: settings.WRENN_VMM_POOL, images, templates, log },
    journal: () => journal,
    watch: (vmId, vmm) => watchVmm(context, vmId, vmm),
    busy: () => recorder.starting > 0,
  });
  const journal = await openVmJournal({ folder: files.journal, handlers: vmEffectHandlers(context), log });
  const recorder = new Recorder({ journal, incarnations, admission, warm });
  const consoles = new ConsoleKeeper(files, log);
  const sweeper = new Sweeper({ files, snapshots, templates, vmm, log });
  try {
    await recorder.start();
    const all = await journal.list();
    const live = all.filter((view) => !view.done);
    const claimed = new Set(live.flatMap(({ context: { claim } }) => claim ?? []));
    await releaseOrphans(context, new Set([...live.map(({ id }) => id), ...claimed]));
    // One that was handed over just before holds its slot until the sandbox has noted it, and no longer: that may be paused.
    const claiming = new Set(live.flatMap(({ path, context: { claim } }) => (path === 'preparing.claim' ? claim : [])));
    const handedOver = all.filter((view) => view.path === 'claimed' && claiming.has(view.id));
    const held = slotsOf([...handedOver, ...live]);
    await removeStaleCgroups({ first, last }, new Set(held.keys()));
    await slots.start(held);
    await adoptVms(context, live, signal);
    consoles.start();
    await sweeper.start();
    gate.open();
    await warm.start(live.filter((view) => isMadeAhead(view) && !claimed.has(view.id)));
  } catch (error) {
    await stalls.close();
    await sweeper.stop();
    await consoles.stop();
    await recorder.stop();
    await journal.close();
    await slots.close();
    throw error;
  }

  return {
    ...{ files, vmm, rootfs, slots, snapshots, warm, front, vms, incarnations, journal, stalls },
    activity: new Activity(front),
    async destroyAll(signal) {
      await warm.stop();
      const booting = templates.close().map((boot) => ({ ...boot, epoch: 0 }));
      const live = (await journal.list()).filter((view) => !view.done);
      // The same one twice is destroyed once.
      const all = [...live.map(({ context }) => context), ...booting];
      await Promise.all(all.map((vm) => destroy(journal, vm, signal)));
      return live.filter(isSandboxVm).length;
    },
    async stop() {
      await warm.stop();
      await recorder.settled(AbortSignal.timeout(SETTLE_MS));
      await stalls.close();
      await sweeper.stop();
      await consoles.stop();
      await recorder.stop();
      await journal.close();
      await slots.close();
      vms.close();
    },
  };
}

/** More than one, since a start also waits for the disk and for the VMM. */
const RESTORES_PER_CORE = 2;
/** AG6: a pause or branch that is under way gets so long to end before the agent does; later it is rolled back. */
const SETTLE_MS = 60_000;

const isMadeAhead = ({ context: { purpose } }: ActorView<VmContext>): boolean =>
  purpose === 'warm' || purpose === 'waiting';

/** Which slot belongs to which VM. */
function slotsOf(views: readonly ActorView<VmContext>[]): Map<number, string> {
  return new Map(views.flatMap(({ id, context: { slot } }) => (slot === null ? [] : [[slot.index, id] as const])));
}

type Life = Pick<VmContext, 'sandbox_id' | 'incarnation' | 'epoch'>;

async function destroy(
  journal: VmJournal,
  { sandbox_id, incarnation, epoch }: Life,
  signal: AbortSignal,
): Promise<void> {
  const id = vmIdOf(sandbox_id, incarnation);
  const event = { type: 'DESTROY', sandbox_id, incarnation, key: `terminate:${id}`, epoch };
  await journal.runtime.ask({ kind: 'vm', id }, event, { cause: { type: 'system', name: 'terminate' }, signal });
}
