import { backOff, openSocket } from '../lib/socket.ts';

export interface Screen {
  readonly cols: number;
  readonly rows: number;
  write(data: Uint8Array): void;
  reset(): void;
}

type FromServer =
  | { type: 'start'; pid: number }
  | { type: 'exit'; exit_code: number; error?: string }
  | { type: 'error'; code: string; message: string };

/** Process ids by capsule, for as long as the page lives: leaving the terminal does not end the shell. */
const shells = new Map<string, number>();
const encoder = new TextEncoder();
/** Input typed while the connection is away: as much as somebody types by hand. */
const MOST_WAITING = 4_096;

/** Errors that pass by themselves. */
const PASSING = /^(host_unreachable|unavailable)$/;

/** A shell over the PTY socket. When the connection is lost it comes back to the same process, with what was missed. */
export class PtyLink {
  status = $state<'idle' | 'connecting' | 'open' | 'lost' | 'ended' | 'failed'>('idle');
  pid = $state<number | null>(null);
  detail = $state('');

  readonly #capsule: string;
  #socket: WebSocket | null = null;
  #screen: Screen | null = null;
  #size = { cols: 80, rows: 24 };
  #attempts = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #waiting = '';

  constructor(capsule: string) {
    this.#capsule = capsule;
    this.pid = shells.get(capsule) ?? null;
  }

  get words(): string {
    return {
      idle: '',
      connecting: this.pid === null ? 'Starting a shell…' : 'Connecting to the same shell…',
      open: 'Connected',
      lost: `${this.detail || 'Connection lost'}${this.pid === null ? '' : '; the shell runs on'}. Connecting again…`,
      ended: `The shell has ended${this.detail && ` (${this.detail})`}.`,
      failed: this.detail,
    }[this.status];
  }

  start(screen: Screen): void {
    this.#screen = screen;
    this.#size = { cols: screen.cols, rows: screen.rows };
    this.#connect();
  }

  /** Connects to the same process again, after it was out of reach. */
  resume(): void {
    if (this.status === 'failed' && this.pid !== null) this.#connect();
  }

  startAnew(): void {
    this.#forget();
    this.#connect();
  }

  type(data: string | Uint8Array): void {
    if (this.status === 'open') this.#socket?.send(typeof data === 'string' ? encoder.encode(data) : data.slice());
    else if (typeof data === 'string') this.#waiting = (this.#waiting + data).slice(0, MOST_WAITING);
  }

  resize(cols: number, rows: number): void {
    this.#size = { cols, rows };
    this.#say({ type: 'resize', cols, rows });
  }

  stop(): void {
    this.#say({ type: 'stop' });
  }

  /** Closes the connection; the shell runs on. */
  leave(): void {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
  }

  #connect(): void {
    clearTimeout(this.#timer);
    this.status = 'connecting';
    const socket = openSocket(`/v1/sandboxes/${this.#capsule}/pty`);
    this.#socket = socket;
    socket.onopen = () => {
      if (this.pid === null) this.#say({ type: 'start', ...this.#size });
      else this.#say({ type: 'connect', pid: this.pid, replay: true });
    };
    socket.onmessage = ({ data }) => {
      if (typeof data === 'string') this.#take(JSON.parse(data) as FromServer);
      else this.#screen?.write(new Uint8Array(data as ArrayBuffer));
    };
    socket.onclose = () => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      if (this.status !== 'ended' && this.status !== 'failed') this.#tryAgain();
    };
  }

  #take(message: FromServer): void {
    if (message.type === 'start') {
      // What was seen comes again with the replay.
      if (this.pid !== null) this.#screen?.reset();
      this.pid = message.pid;
      shells.set(this.#capsule, message.pid);
      this.#attempts = 0;
      this.detail = '';
      this.status = 'open';
      this.#say({ type: 'resize', ...this.#size });
      if (this.#waiting !== '') this.type(this.#waiting);
      this.#waiting = '';
    } else if (message.type === 'exit') {
      this.#forget();
      this.detail = message.error ?? `exit code ${message.exit_code}`;
      this.status = 'ended';
    } else if (message.code === 'not_found' && this.pid !== null) {
      this.#forget();
      this.detail = 'while nobody looked';
      this.status = 'ended';
    } else if (PASSING.test(message.code)) {
      this.detail = message.message.replace(/\.$/, ''); // the connection ends, and is tried again
    } else {
      this.detail = message.message;
      this.status = 'failed';
    }
  }

  #tryAgain(): void {
    this.status = 'lost';
    this.#timer = setTimeout(() => this.#connect(), backOff(++this.#attempts));
  }

  #forget(): void {
    this.pid = null;
    shells.delete(this.#capsule);
  }

  #say(message: object): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }
}
