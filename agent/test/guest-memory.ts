import { VmStatus } from '@wrenn/proto/hostagent/v1/hostagent_pb';
import { type AgentProcess, command, newSandboxId, SPEC } from './agent-process.ts';

/**
 * A process in the guest that holds random bytes and says over a file whether they are still what they were: it writes
 * `<count> <ok|bad>` to /tmp/holder ten times a second. Some of its memory it keeps changing.
 */
const HOLDER = `
import hashlib, os, time
blob = bytearray(os.urandom(8 << 20))
digest = hashlib.md5(blob).hexdigest()
churn = bytearray(4 << 20)
count = 0
while True:
    count += 1
    at = (count * 64) % len(churn) & ~4095
    churn[at:at + 4096] = bytes([count % 256]) * 4096
    ok = hashlib.md5(blob).hexdigest() == digest
    with open('/tmp/holder.new', 'w') as f: f.write('%d %s' % (count, 'ok' if ok else 'bad'))
    os.rename('/tmp/holder.new', '/tmp/holder')
    time.sleep(0.1)
`;

interface NewSandbox {
  readonly sandboxId?: string;
  readonly snapshotId?: string;
  readonly spec?: Partial<typeof SPEC>;
}

/** What is done inside a guest by tests of snapshots. */
export class GuestShell {
  readonly #agent: () => AgentProcess;
  readonly sandboxId: string;

  constructor(agent: () => AgentProcess, sandboxId: string) {
    this.#agent = agent;
    this.sandboxId = sandboxId;
  }

  /** Of a new sandbox, which is ready. `snapshotId`: what it starts from, instead of its template. */
  static async create(
    agent: () => AgentProcess,
    { sandboxId = newSandboxId(), snapshotId = '', spec = {} }: NewSandbox = {},
  ): Promise<GuestShell> {
    const start = { command: command(sandboxId), spec: { ...SPEC, ...spec }, snapshotId };
    const { report } = await agent().client.createSandbox(start);
    if (report?.status !== VmStatus.READY) throw new Error(`not ready: ${report?.code} ${report?.message}`);
    return new GuestShell(agent, sandboxId);
  }

  /** Standard output, without the newline at its end. A failing command is an error. */
  async run(script: string, user = ''): Promise<string> {
    const call = { sandboxId: this.sandboxId, cmd: 'sh', args: ['-c', script], user };
    const { stdout, stderr, exitCode } = await this.#agent().client.exec(call);
    if (exitCode !== 0) throw new Error(`${script}: exit code ${exitCode}: ${Buffer.from(stderr)}`);
    return Buffer.from(stdout).toString().trimEnd();
  }

  async hold(): Promise<void> {
    await this.run(`cat > /tmp/holder.py <<'E'\n${HOLDER}\nE\nnohup python3 /tmp/holder.py >/dev/null 2>&1 &`);
    await this.run('while [ ! -e /tmp/holder ]; do sleep 0.05; done');
  }

  /** The holder has gone on since `count`, and its memory is what it was. Gives the count now. */
  async holds(count = 0): Promise<number> {
    const wait = `for i in $(seq 600); do set -- $(cat /tmp/holder); [ $1 -gt ${count} ] && break; sleep 0.05; done`;
    const [now = '', verdict] = (await this.run(`${wait}; cat /tmp/holder`)).split(' ');
    if (verdict !== 'ok' || Number(now) <= count) throw new Error(`the holder says ${now} ${verdict} after ${count}`);
    return Number(now);
  }
}
