import type { Logger } from '@wrenn/core';
import { type AgentSettings, rootOf } from './config.ts';
import { AgentFiles } from './files.ts';
import { ControlPlane } from './registration/control-plane.ts';
import { type HostCredentials, readCredentials } from './registration/credentials.ts';
import { hostLoad } from './registration/host-facts.ts';
import { Membership } from './registration/membership.ts';
import { type Registration, register } from './registration/register.ts';
import type { ServiceContext } from './service/context.ts';
import { ServiceServer } from './service/server.ts';
import { startVmHost } from './vm-host.ts';

export interface Agent {
  /** Port of the front. */
  readonly port: number;
  /** Resolves when `Terminate` was called and everything is destroyed: the program must end then. */
  readonly terminated: Promise<void>;
  /** AG6: ends the agent; its VMs live on. */
  stop(): Promise<void>;
}

export interface AgentOptions {
  readonly settings: AgentSettings;
  readonly log: Logger;
  /** From the command line: this host is to be registered first (H1). */
  readonly registration: Registration | null;
}

/** What the answer to `Terminate` gets to pass the front, whose end cuts its connections. */
const ANSWER_GRACE_MS = 200;

/** The host agent: VMs, service, byte path, and its place in the fleet. */
export async function startAgent({ settings, log, registration }: AgentOptions, signal: AbortSignal): Promise<Agent> {
  const files = new AgentFiles(rootOf(settings));
  const host = await startVmHost({ settings, files, log }, signal);
  const controlPlane = settings.WRENN_CP_URL === undefined ? null : new ControlPlane(settings.WRENN_CP_URL);
  let credentials: HostCredentials | null = await readCredentials(files.credentials);
  const terminated = Promise.withResolvers<void>();
  const context: ServiceContext = {
    ...{ journal: host.journal, incarnations: host.incarnations, vms: host.vms, activity: host.activity, log },
    async terminate(signal) {
      const destroyed = await host.destroyAll(signal);
      log.warn({ destroyed }, 'terminated by the control plane');
      setTimeout(terminated.resolve, ANSWER_GRACE_MS);
      return destroyed;
    },
  };
  const server = new ServiceServer({
    socket: files.socket,
    context,
    secret: () => credentials?.control_plane_secret ?? null,
  });
  await server.listen();
  const secret = credentials?.control_plane_secret ?? null;
  await host.front.listen({ address: settings.WRENN_AGENT_LISTEN, service: files.socket, secret });
  log.info(
    { address: settings.WRENN_AGENT_LISTEN, port: host.front.port, store_id: host.journal.storeId },
    'listening',
  );

  const admit = (fresh: HostCredentials) => {
    credentials = fresh;
    host.front.admit(fresh.control_plane_secret);
  };
  if (registration !== null) {
    if (controlPlane === null) throw new Error('--register needs WRENN_CP_URL');
    admit(await register({ registration, controlPlane, settings, files, host }, signal));
    log.info({ host_id: credentials?.host_id }, 'registered');
  }
  const membership =
    credentials === null || controlPlane === null
      ? null
      : new Membership({
          ...{ controlPlane, credentials, log, renewed: admit },
          file: files.credentials,
          heartbeat: () => ({
            store_id: host.journal.storeId,
            cursor: Number(host.journal.cursor()),
            vms: host.vms.all().length,
            load: hostLoad(),
          }),
        });
  if (membership === null) log.warn('not a member of a fleet: no credentials or no WRENN_CP_URL (see --register)');
  membership?.start();

  return {
    port: host.front.port ?? 0,
    terminated: terminated.promise,
    async stop() {
      await membership?.stop();
      await server.close();
      host.front.close();
      await host.stop();
    },
  };
}
