/** What a check found: it works, it works with less than the best, or sandboxes cannot run without it. */
export interface Finding {
  readonly verdict: 'works' | 'degraded' | 'broken';
  readonly words: string;
  /** How to mend it. */
  readonly remedy?: string;
}

export interface Check {
  readonly name: string;
  run(signal: AbortSignal): Promise<Finding>;
}

export const works = (words: string): Finding => ({ verdict: 'works', words });
export const degraded = (words: string, remedy: string): Finding => ({ verdict: 'degraded', words, remedy });
export const broken = (words: string, remedy: string): Finding => ({ verdict: 'broken', words, remedy });

/** The words of whatever was thrown. */
export function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
