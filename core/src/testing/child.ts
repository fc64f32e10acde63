import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { ActorRef, Answer, DomainEvent } from '../definition.ts';

interface Line {
  readonly ready?: boolean;
  readonly n?: number;
  readonly answer?: Answer;
  readonly error?: string;
  readonly effect?: string;
  readonly attempt?: number;
  readonly epoch?: number;
}

/** `runtime-child.ts` as a process of its own. */
export class Child {
  readonly effects: { readonly key: string; readonly attempt: number; readonly epoch: number }[] = [];
  readonly #process: ChildProcess;
  readonly #asked = new Map<number, (line: Line) => void>();
  #asks = 0;
  readonly #ready: Promise<void>;

  constructor(where: string) {
    const program = join(import.meta.dirname, 'runtime-child.ts');
    this.#process = spawn(process.execPath, [program, where], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#ready = new Promise((resolve) => {
      createInterface({ input: this.#process.stdout as NodeJS.ReadableStream }).on('line', (text) => {
        const line = JSON.parse(text) as Line;
        if (line.ready) resolve();
        if (line.effect) this.effects.push({ key: line.effect, attempt: line.attempt ?? 0, epoch: line.epoch ?? 0 });
        if (line.n !== undefined) this.#asked.get(line.n)?.(line);
      });
    });
  }

  static async started(where: string): Promise<Child> {
    const child = new Child(where);
    await child.#ready;
    return child;
  }

  get pid(): number {
    return this.#process.pid as number;
  }

  ask(to: ActorRef, event: DomainEvent, messageId?: string): Promise<Answer> {
    this.#asks += 1;
    const n = this.#asks;
    return new Promise((resolve, reject) => {
      this.#asked.set(n, ({ answer, error }) => (answer ? resolve(answer) : reject(new Error(error))));
      this.#process.stdin?.write(`${JSON.stringify({ n, to, event, messageId })}\n`);
    });
  }

  /** Frozen: its session lives, it does nothing. */
  freeze(): void {
    this.#process.kill('SIGSTOP');
  }

  thaw(): void {
    this.#process.kill('SIGCONT');
  }

  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    this.#process.kill('SIGKILL');
    await once(this.#process, 'exit');
  }
}
