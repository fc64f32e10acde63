import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * The image read-only under a layer in memory; the network is this machine's. Mounts and processes are in namespaces that
 * end with their first process, the shell: it dies with us, which a program that changes its user would not.
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
chroot "$dir/root" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "$@"
`;
const NAMESPACES = ['--mount', '--propagation=private', '--pid', '--fork', '--kill-child=SIGKILL'];

/** A program of an image, run at the speed of this machine. `stop` ends it and whatever it has started. */
export class ImageChroot {
  readonly #child: ChildProcess;
  readonly #dir = mkdtempSync(join(tmpdir(), 'wrenn-chroot-'));
  readonly #ended: Promise<unknown>;
  stdout = '';
  stderr = '';

  constructor(image: string, argv: string[], input = '') {
    this.#child = spawn('unshare', [...NAMESPACES, 'sh', '-c', SCRIPT, 'sh', image, this.#dir, ...argv]);
    this.#ended = once(this.#child, 'close');
    this.#child.stdin?.on('error', () => undefined); // it may end before it reads
    this.#child.stdin?.end(input);
    this.#child.stdout?.setEncoding('utf8').on('data', (text) => {
      this.stdout += text;
    });
    this.#child.stderr?.setEncoding('utf8').on('data', (text) => {
      this.stderr += text;
    });
  }

  get exitCode(): number | null {
    return this.#child.exitCode;
  }

  /** Resolves with the exit code; null when a signal ended it. */
  async exit(): Promise<number | null> {
    await this.#ended;
    return this.#child.exitCode;
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
    rmSync(this.#dir, { recursive: true });
  }
}

/** Runs a program of an image to its end. @returns what it wrote to stdout; throws unless it ends with code 0. */
export async function runInImage(image: string, argv: string[], input = ''): Promise<string> {
  const chroot = new ImageChroot(image, argv, input);
  try {
    const code = await chroot.exit();
    if (code !== 0) throw new Error(`${argv.join(' ')} ended with ${code}:\n${chroot.stderr}`);
    return chroot.stdout;
  } finally {
    await chroot.stop();
  }
}
