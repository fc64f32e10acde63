/** What is to be placed. */
export interface Placement {
  readonly teamId: string;
  readonly template: string;
  readonly vcpus: number;
  /** What is taken from the host: the guest's memory and the VMM's own. */
  readonly memoryMb: number;
  readonly excludedHosts: readonly string[];
  /** Where a snapshot lies that it is started from; null: any host will do. */
  readonly onlyHost: string | null;
}

export interface Candidate {
  readonly hostId: string;
  readonly storeId: string | null;
}

/**
 * Names the hosts to try, best first (H5). It only advises: the transaction that reserves decides, so what it knows may
 * be a moment old.
 */
export interface Scheduler {
  candidates(placement: Placement, signal: AbortSignal): Promise<readonly Candidate[]>;
}
