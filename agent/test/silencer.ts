import { once } from 'node:events';
import { connect } from 'node:net';
import type { GuestShell } from './guest-memory.ts';

const PORT = 7000;
/** Longer than a guest whose vCPUs share two cores needs for an answer. */
const PATIENCE_MS = 60_000;

/**
 * In the guest, out of reach of a freeze: stops envd when somebody connects, lets it go on when the next one does. The
 * connection is closed when that is done.
 */
const PROGRAM = `
import os, signal, socket
envd = int(os.popen('pidof envd').read())
with open('/sys/fs/cgroup/cgroup.procs', 'w') as group: group.write(str(os.getpid()))
server = socket.create_server(('', ${PORT}))
open('/tmp/silencer', 'w')
for which in (signal.SIGSTOP, signal.SIGCONT):
    client = server.accept()[0]
    os.kill(envd, which)
    client.close()
`;

/** Makes a guest silent, for as long as is wanted. */
export class Silencer {
  readonly #hostIp: string;

  private constructor(hostIp: string) {
    this.#hostIp = hostIp;
  }

  /** `hostIp`: where the guest is reached. */
  static async in(guest: GuestShell, hostIp: string): Promise<Silencer> {
    await guest.run(`cat > /tmp/silencer.py <<'E'\n${PROGRAM}\nE\nrm -f /tmp/silencer`, 'root');
    await guest.run('nohup python3 /tmp/silencer.py >/dev/null 2>&1 &', 'root');
    await guest.run('while [ ! -e /tmp/silencer ]; do sleep 0.05; done');
    return new Silencer(hostIp);
  }

  /** envd stands still from now on. */
  silence(): Promise<void> {
    return this.#press();
  }

  letGo(): Promise<void> {
    return this.#press();
  }

  async #press(): Promise<void> {
    const socket = connect(PORT, this.#hostIp);
    socket.resume();
    await once(socket, 'close', { signal: AbortSignal.timeout(PATIENCE_MS) });
  }
}
