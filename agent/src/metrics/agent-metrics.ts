import { statfs } from 'node:fs/promises';
import { isSandboxVm, vmStatus } from '@wrenn/actors';
import { type MetricFamily, metricsText, one, ProcessMetrics } from '@wrenn/core';
import type { VmJournal } from '../vm-journal.ts';
import type { VmMetrics } from './vm-metrics.ts';

/** MET2: what `/metrics` of this agent says. No sandbox or team has a name here. */
export class AgentMetrics {
  readonly #journal: VmJournal;
  readonly #vms: VmMetrics;
  readonly #root: string;
  readonly #process = new ProcessMetrics();

  constructor(journal: VmJournal, vms: VmMetrics, root: string) {
    this.#journal = journal;
    this.#vms = vms;
    this.#root = root;
  }

  async text(): Promise<string> {
    const { sampled, rssKib, cpuCores } = this.#vms.totals();
    const { bsize, bavail } = await statfs(this.#root);
    return metricsText([
      await this.#byStatus(),
      one('wrenn_agent_vms_sampled', 'gauge', 'VMs whose use is sampled.', sampled),
      one('wrenn_agent_vmm_resident_bytes', 'gauge', 'Resident memory of their VMMs.', rssKib * 1024),
      one('wrenn_agent_vmm_cpu_cores', 'gauge', 'Cores that their VMMs used in the last sample.', cpuCores),
      one('wrenn_agent_disk_free_bytes', 'gauge', "Room in the agent's folder.", bsize * bavail),
      one(
        'wrenn_agent_journal_position',
        'gauge',
        'Entries ever written to the journal.',
        Number(this.#journal.cursor()),
      ),
      ...this.#process.families(),
    ]);
  }

  close(): void {
    this.#process.close();
  }

  /** Those that are gone are only graves. */
  async #byStatus(): Promise<MetricFamily> {
    const counts = new Map<string, number>();
    for (const view of await this.#journal.list()) {
      if (view.done) continue;
      const key = `${vmStatus(view)} ${isSandboxVm(view) ? 'sandbox' : 'other'}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    const samples = [...counts].map(([key, value]) => {
      const [status = '', purpose = ''] = key.split(' ');
      return { labels: { status, purpose }, value };
    });
    return { name: 'wrenn_agent_vms', type: 'gauge', help: 'VMs of this agent by status.', samples };
  }
}
