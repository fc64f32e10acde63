import { setTimeout as sleep } from 'node:timers/promises';
import type { AgentProcess } from '../../agent/test/agent-process.ts';

/** Around a look the guest has other things to do than this loop: what is that close to one does not count. */
const APART_S = 0.3;

/**
 * In the guest: looks at the clock without end, keeps `argv[1]` MB of memory changed, and has a child that writes
 * `argv[2]` MB/s to the disk. Writes its longest gap between two looks (milliseconds) to /tmp/gap whenever it finds
 * /tmp/look, which it removes.
 */
const CLOCK = `
import os, sys, time
held, rate = int(sys.argv[1]), int(sys.argv[2])
if rate and os.fork() == 0:
    block = os.urandom(1 << 20)
    with open('/home/user/written', 'wb', buffering=0) as f:
        while True:
            if f.tell() >= 16 << 20: f.seek(0)
            f.write(block)
            time.sleep(1 / rate)
memory = bytearray(os.urandom(held << 20))
last = looked = time.monotonic()
gaps, turn = [], 0
while True:
    now = time.monotonic()
    if now - last > 0.0005: gaps.append((now, now - last))
    last = now
    turn += 1
    if turn % 64 == 0 and os.path.exists('/tmp/look'):
        os.unlink('/tmp/look')
        seen = [gap for at, gap in gaps if looked + ${APART_S} < at < now - ${APART_S}]
        with open('/tmp/gap.new', 'w') as f: f.write('%.3f' % (max(seen, default=0) * 1e3))
        os.rename('/tmp/gap.new', '/tmp/gap')
        last = looked = time.monotonic()
        gaps = []
`;

/** A clock loop in a guest (design.md §7: the freeze that a guest sees is the longest gap of such a loop). */
export class GuestClock {
  readonly #agent: AgentProcess;
  readonly #sandboxId: string;

  private constructor(agent: AgentProcess, sandboxId: string) {
    this.#agent = agent;
    this.#sandboxId = sandboxId;
  }

  static async start(
    agent: AgentProcess,
    sandboxId: string,
    { heldMb, writesMbPerSecond }: { heldMb: number; writesMbPerSecond: number },
  ): Promise<GuestClock> {
    const clock = new GuestClock(agent, sandboxId);
    await clock.#sh(`cat > /tmp/clock.py <<'E'\n${CLOCK}\nE`);
    await clock.#sh(`nohup python3 /tmp/clock.py ${heldMb} ${writesMbPerSecond} >/tmp/clock.log 2>&1 &`);
    await clock.#look();
    return clock;
  }

  /** What happens meanwhile, and the longest gap in it: milliseconds of the guest's clock, which stands still with its vCPUs. */
  async longestGapIn<T>(what: () => Promise<T>): Promise<{ gap: number; outcome: T }> {
    await this.#look();
    await sleep(APART_S * 1_000 + 100);
    const outcome = await what();
    await sleep(APART_S * 1_000 + 100);
    return { gap: await this.#look(), outcome };
  }

  async #look(): Promise<number> {
    const look = 'rm -f /tmp/gap; touch /tmp/look; while [ ! -e /tmp/gap ]; do sleep 0.02; done; cat /tmp/gap';
    return Number(await this.#sh(look));
  }

  async #sh(script: string): Promise<string> {
    const call = { sandboxId: this.#sandboxId, cmd: 'sh', args: ['-c', script] };
    const { stdout, stderr, exitCode } = await this.#agent.client.exec(call);
    if (exitCode !== 0) throw new Error(`${script}: ${exitCode}: ${Buffer.from(stderr)}`);
    return Buffer.from(stdout).toString();
  }
}
