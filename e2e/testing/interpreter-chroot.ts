import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../../scripts/lib/free-port.ts';
import { Interpreter } from './interpreter.ts';

/**
 * The image read-only under a layer in memory, and the image's own service started in it: all of it at the speed of
 * this machine. Mounts and processes are in namespaces that end with the first process.
 */
const SCRIPT = `
set -e
image=$1 dir=$2
shift 2
mount -t tmpfs none "$dir"
mkdir "$dir/lower" "$dir/upper" "$dir/work" "$dir/root"
mount -o loop,ro "$image" "$dir/lower"
mount -t overlay overlay -o "lowerdir=$dir/lower,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
mount -t proc proc "$dir/root/proc"
mount --rbind /dev "$dir/root/dev"
mount -t tmpfs none "$dir/root/run"
exec chroot "$dir/root" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
  LANG=C.UTF-8 /etc/wrenn/services.d/code-interpreter "$@"
`;

export class InterpreterChroot {
  readonly interpreter: Interpreter;
  /** Address of the Jupyter server. */
  readonly jupyterUrl: string;
  /** Root of the guest's file system, as long as it runs, for whoever is in its namespace. */
  readonly #child: ChildProcess;
  readonly #dir: string;
  #log = '';

  private constructor(child: ChildProcess, dir: string, port: number, jupyterPort: number) {
    this.#child = child;
    this.#dir = dir;
    this.interpreter = new Interpreter(`http://127.0.0.1:${port}`);
    this.jupyterUrl = `http://127.0.0.1:${jupyterPort}`;
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (this.#log += chunk));
  }

  /** Resolves when the service answers. */
  static async start(image: string): Promise<InterpreterChroot> {
    const dir = mkdtempSync(join(tmpdir(), 'wrenn-chroot-'));
    const [port, jupyterPort] = [await freePort(), await freePort()];
    const service = [`--port=${port}`, `--ServerApp.port=${jupyterPort}`, '--ServerApp.ip=127.0.0.1'];
    const namespaces = ['--mount', '--propagation=private', '--pid', '--fork', '--kill-child=SIGKILL'];
    const argv = [...namespaces, 'sh', '-c', SCRIPT, 'sh', image, dir, ...service];
    const child = spawn('unshare', argv, { stdio: ['ignore', 'pipe', 'pipe'] });
    const chroot = new InterpreterChroot(child, dir, port, jupyterPort);
    await chroot.#untilReady();
    return chroot;
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const ended = once(this.#child, 'exit');
      this.#child.kill('SIGKILL');
      await ended;
    }
    rmSync(this.#dir, { recursive: true });
  }

  async #untilReady(): Promise<void> {
    while (this.#child.exitCode === null) {
      const health = await fetch(`${this.interpreter.url}/health`).catch(() => undefined);
      if (health?.ok) return;
      await sleep(100);
    }
    throw new Error(`the service ended at once:\n${this.#log}`);
  }
}
