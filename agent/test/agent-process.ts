import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { Agent as HttpAgent } from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Client, type ConnectError, createClient } from '@connectrpc/connect';
import { createConnectTransport } from '@connectrpc/connect-node';
import { lockFile, networkRemove } from '@wrenn/addon';
import { HostAgentService } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { keeperLock } from '../src/console-keeper.ts';
import { AgentFiles } from '../src/files.ts';

const CHECKOUT = resolve(import.meta.dirname, '../..');
export const AGENT = join(CHECKOUT, 'agent/src/main.ts');
/** Kernel and images of the development stack. */
const BUILT = process.env.WRENN_DIR ?? join(CHECKOUT, '.wrenn/lib');
/** An emulated machine takes a minute to find out whether it has a KVM. */
const START_TIMEOUT_MS = 240_000;
const STOP_TIMEOUT_MS = 30_000;

export const SECRET = 'the-control-plane-secret-of-the-tests';

export interface SlotRange {
  readonly first: number;
  readonly last: number;
}

/** A root folder for agents of one test file, with the kernel and the images of the development stack. */
export class AgentRoot {
  readonly folder: string;
  readonly slots: SlotRange;

  private constructor(folder: string, slots: SlotRange) {
    this.folder = folder;
    this.slots = slots;
  }

  static async make(slots: SlotRange, parent = tmpdir()): Promise<AgentRoot> {
    const folder = await mkdtemp(join(parent, 'wrenn-agent-'));
    await symlink(join(BUILT, 'kernels'), join(folder, 'kernels'));
    await mkdir(join(folder, 'images')); // its own: a test may add some
    for (const name of await readdir(join(BUILT, 'images'))) {
      await symlink(join(BUILT, 'images', name), join(folder, 'images', name));
    }
    const credentials = {
      host_id: 'host-test',
      jwt: 'h.e.s',
      renew_at: '2098-01-01T00:00:00Z',
      refresh_token: 'refresh',
      cert_pem: null,
      ca_cert_pem: null,
      key_pem: null,
      control_plane_secret: SECRET,
    };
    await writeFile(join(folder, 'host-credentials.json'), JSON.stringify(credentials), { mode: 0o600 });
    return new AgentRoot(folder, slots);
  }

  /** The environment of an agent. */
  get settings(): Record<string, string | undefined> {
    return {
      PATH: process.env.PATH,
      WRENN_DIR: this.folder,
      WRENN_SLOTS: `${this.slots.first}-${this.slots.last}`,
      WRENN_SLOT_POOL: '1',
      WRENN_WARM_POOL: 'minimal=0', // tests count what is there
      WRENN_AGENT_LISTEN: '127.0.0.1:0',
    };
  }

  /** Whether a process keeps the console logs small. */
  isKept(): Promise<boolean> {
    return lockFile(keeperLock(new AgentFiles(this.folder))).then(
      (lock) => {
        lock.release();
        return false;
      },
      (error) => error.code === 'locked',
    );
  }

  /** After the last agent was terminated. */
  async remove(): Promise<void> {
    while (await this.isKept()) await sleep(100); // that process ends within a second after the last VM
    await networkRemove({ slots: this.slots });
    await rm(this.folder, { recursive: true });
  }
}

/** `wrenn-agent` as a process of its own, and a client of its service, as the control plane has one. */
export class AgentProcess {
  readonly process: ChildProcess;
  readonly port: number;
  readonly client: Client<typeof HostAgentService>;
  readonly #sockets = new HttpAgent({ keepAlive: true });

  private constructor(process: ChildProcess, port: number) {
    this.process = process;
    this.port = port;
    const transport = createConnectTransport({
      httpVersion: '1.1',
      baseUrl: this.url,
      nodeOptions: { agent: this.#sockets },
      interceptors: [
        (next) => (call) => {
          call.header.set('wrenn-authorization', `Bearer ${SECRET}`);
          return next(call);
        },
      ],
    });
    this.client = createClient(HostAgentService, transport);
  }

  static async start(
    root: AgentRoot,
    env: Record<string, string> = {},
    args: readonly string[] = [],
  ): Promise<AgentProcess> {
    const child = spawn(process.execPath, [AGENT, ...args], {
      cwd: root.folder,
      env: { ...root.settings, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return new AgentProcess(child, await portOf(child));
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Ends it as a service manager does (AG6). */
  stop(): Promise<void> {
    return this.#end('SIGTERM');
  }

  kill(): Promise<void> {
    return this.#end('SIGKILL');
  }

  /** Destroys all VMs; the program ends by itself then. */
  async terminate(): Promise<number> {
    const ended = this.#ended();
    const { destroyed } = await this.client.terminate({});
    await ended;
    this.#sockets.destroy();
    return destroyed;
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const ended = this.#ended();
    this.process.kill(signal);
    await ended;
    this.#sockets.destroy();
  }

  async #ended(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    await once(this.process, 'exit', { signal: AbortSignal.timeout(STOP_TIMEOUT_MS) });
  }
}

/** Reads the log until it names the port. */
async function portOf(child: ChildProcess): Promise<number> {
  const lines: string[] = [];
  const listening = new Promise<number>((resolve, reject) => {
    const read = (stream: NodeJS.ReadableStream) =>
      createInterface({ input: stream }).on('line', (line) => {
        lines.push(line);
        if (process.env.WRENN_TEST_LOG) console.error(line);
        if (line.includes('"msg":"listening"')) resolve(JSON.parse(line).port);
      });
    if (child.stdout && child.stderr) [child.stdout, child.stderr].forEach(read);
    child.on('exit', () => reject(new Error(`the agent ended:\n${lines.join('\n')}`)));
    setTimeout(() => reject(new Error(`the agent does not listen:\n${lines.join('\n')}`)), START_TIMEOUT_MS).unref();
  });
  return listening;
}

export function newSandboxId(): string {
  return `sb${randomBytes(10).toString('hex')}`;
}

/** The stable code of a failure of the service. */
export function codeOf(error: ConnectError): string | null {
  return error.metadata.get('wrenn-error-code');
}

/** A command as the control plane sends it. */
export function command(sandboxId: string, incarnation = 1, epoch = 1n, key = randomBytes(8).toString('hex')) {
  return { sandboxId, incarnation, key, epoch, budgetMs: 100_000 };
}

export const ACCESS_TOKEN = 'access-token-of-the-guest';

export const SPEC = {
  template: 'minimal',
  vcpus: 1,
  memoryMb: 256,
  diskSizeMb: 20_480,
  envs: { GREETING: 'hi' } as Record<string, string>,
  accessToken: ACCESS_TOKEN,
  defaultUser: 'user',
  hostname: '',
  teamId: 'team-test',
};
