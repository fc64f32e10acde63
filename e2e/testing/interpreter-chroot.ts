import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../../scripts/lib/free-port.ts';
import { ImageChroot } from './image-chroot.ts';
import { Interpreter } from './interpreter.ts';

/** The image's own service, started as its init starts it, on free ports of this machine. */
export class InterpreterChroot {
  readonly interpreter: Interpreter;
  /** Address of the Jupyter server. */
  readonly jupyterUrl: string;
  readonly #chroot: ImageChroot;

  private constructor(image: string, port: number, jupyterPort: number) {
    this.interpreter = new Interpreter(`http://127.0.0.1:${port}`);
    this.jupyterUrl = `http://127.0.0.1:${jupyterPort}`;
    const service = ['/etc/wrenn/services.d/code-interpreter', `--port=${port}`];
    service.push(`--ServerApp.port=${jupyterPort}`, '--ServerApp.ip=127.0.0.1');
    this.#chroot = new ImageChroot(image, service);
  }

  /** Resolves when the service answers. */
  static async start(image: string): Promise<InterpreterChroot> {
    const started = new InterpreterChroot(image, await freePort(), await freePort());
    while (started.#chroot.exitCode === null) {
      const health = await fetch(`${started.interpreter.url}/health`).catch(() => undefined);
      if (health?.ok) return started;
      await sleep(100);
    }
    await started.stop();
    throw new Error(`the service ended at once:\n${started.#chroot.stderr}`);
  }

  stop(): Promise<void> {
    return this.#chroot.stop();
  }
}
