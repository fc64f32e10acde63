/** One part of `make test` and how it went. A check counts as one test. */
export interface Outcome {
  passed: number;
  failed: number;
  /** What failed and why, some lines each; said once more at the very end. */
  failures?: string[];
}

export interface Part {
  name: string;
  run(): Promise<Outcome>;
}

export const PASSED: Outcome = { passed: 1, failed: 0 };
export const FAILED: Outcome = { passed: 0, failed: 1 };
