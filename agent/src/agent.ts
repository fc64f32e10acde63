import { join } from 'node:path';
import type { Logger } from '@wrenn/core';
import { type AgentSettings, rootOf } from './config.ts';
import { DiskWatch } from './disk-watch.ts';
import { AgentFiles } from './files.ts';
import { AgentMetrics } from './metrics/agent-metrics.ts';
import { VmMetrics } from './metrics/vm-metrics.ts';
import { ControlPlane } from './registration/control-plane.ts';
import { type HostCredentials, readCredentials } from './registration/credentials.ts';
import { hostLoad, hostSpecs } from './registration/host-facts.ts';
import { Membership } from './registration/membership.ts';
import { type Registration, register } from './registration/register.ts';
import { ServiceServer } from './service/server.ts';
import { startVmHost, type VmHost } from './vm-host.ts';
import type { Vmm } from './vmm/vmm.ts';

export interface AgentOptions {
  readonly settings: AgentSettings;
  readonly log: Logger;
  /** From the command line: this host is to be registered first (H1). */
  readonly registration: Registration | null;
  /** Default: what is found on this machine. */
  readonly vmm?: Vmm;
}

/** What the answer to `Terminate` gets to pass the front, whose end cuts its connections. */
const ANSWER_GRACE_MS = 200;

/** The host agent: VMs, service, byte path, and its place in the fleet. */
export class Agent {
  readonly #options: AgentOptions;
  readonly #files: AgentFiles;
  readonly #terminated = Promise.withResolvers<void>();
  /** The end of each part that was started, in the order of the starts. */
  readonly #started: (() => Promise<void> | void)[] = [];
  #credentials: HostCredentials | null = null;

  constructor(options: AgentOptions) {
    this.#options = options;
    this.#files = new AgentFiles(rootOf(options.settings));
  }

  /** Resolves when `Terminate` was called and everything is destroyed: the program must end then. */
  get terminated(): Promise<void> {
    return this.#terminated.promise;
  }

  /** Serves when it resolves. Where a part fails, what was started before it is ended. */
  async start(signal: AbortSignal): Promise<void> {
    try {
      const { settings, log, vmm } = this.#options;
      const host = await startVmHost({ settings, files: this.#files, log, vmm }, signal);
      this.#started.push(() => host.stop());
      this.#credentials = await readCredentials(this.#files.credentials);
      await this.#serve(host);
      await this.#join(host, signal);
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** AG6: ends the agent; its VMs live on. */
  async stop(): Promise<void> {
    for (const end of this.#started.splice(0).reverse()) await end();
  }

  /** The service, and the front before it. */
  async #serve(host: VmHost): Promise<void> {
    const { settings, log } = this.#options;
    const { journal, incarnations, vms, activity, front, files, rootfs, slots, snapshots, warm } = host;
    const terminate = async (signal: AbortSignal): Promise<number> => {
      const destroyed = await host.destroyAll(signal);
      log.warn({ destroyed }, 'terminated by the control plane');
      setTimeout(this.#terminated.resolve, ANSWER_GRACE_MS);
      return destroyed;
    };
    const metrics = new VmMetrics({ vms, journal, folder: join(this.#files.root, 'metrics'), log });
    await metrics.start();
    this.#started.push(() => metrics.stop());
    const disk = new DiskWatch(this.#files.root, log, () => host.stalls.end());
    disk.start();
    this.#started.push(() => disk.stop());
    const told = new AgentMetrics(journal, metrics, this.#files.root);
    this.#started.push(() => told.close());
    const server = new ServiceServer({
      socket: this.#files.socket,
      context: { journal, incarnations, vms, activity, files, rootfs, slots, snapshots, warm, metrics, log, terminate },
      metrics: () => told.text(),
      secret: () => this.#credentials?.control_plane_secret ?? null,
    });
    this.#started.push(() => front.close());
    await server.listen();
    this.#started.push(() => server.close());
    const address = settings.WRENN_AGENT_LISTEN;
    const secret = this.#credentials?.control_plane_secret ?? null;
    await front.listen({ address, service: this.#files.socket, secret });
    log.info({ address, port: front.port, store_id: journal.storeId }, 'listening');
  }

  /** Registers where that was asked for (H1), and begins with the heartbeats (H4). */
  async #join(host: VmHost, signal: AbortSignal): Promise<void> {
    const { settings, log, registration } = this.#options;
    const renewed = (credentials: HostCredentials) => {
      this.#credentials = credentials;
      host.front.admit(credentials.control_plane_secret);
    };
    const controlPlane = settings.WRENN_CP_URL === undefined ? null : new ControlPlane(settings.WRENN_CP_URL);
    if (registration !== null) {
      if (controlPlane === null) throw new Error('--register needs WRENN_CP_URL');
      renewed(await register({ registration, controlPlane, settings, files: this.#files, host }, signal));
      log.info({ host_id: this.#credentials?.host_id }, 'registered');
    }
    if (controlPlane === null || this.#credentials === null) {
      log.warn('not a member of a fleet: no credentials or no WRENN_CP_URL (see --register)');
      return;
    }
    const membership = new Membership({
      ...{ controlPlane, credentials: this.#credentials, file: this.#files.credentials, log, renewed },
      specs: await hostSpecs(settings, this.#files.root, host.vmm, host.rootfs.name),
      heartbeat: () => ({
        store_id: host.journal.storeId,
        cursor: Number(host.journal.cursor()),
        vms: host.vms.all().length,
        load: hostLoad(this.#files.root),
      }),
    });
    membership.start();
    this.#started.push(() => membership.stop());
  }
}
