import type { AgentSettings } from '../config.ts';
import type { AgentFiles } from '../files.ts';
import type { Check, Finding } from './finding.ts';
import { wordsOf } from './finding.ts';
import { machineChecks } from './machine-checks.ts';
import { vmmChecks } from './vmm-checks.ts';

const MARKS = { works: '✓', degraded: '~', broken: '✗' } as const;

/** AG7: says in words what works, what is degraded and how to mend it. True when sandboxes can run here. */
export async function doctor(
  settings: AgentSettings,
  files: AgentFiles,
  print: (line: string) => void,
  signal: AbortSignal,
): Promise<boolean> {
  const checks: Check[] = [...machineChecks(settings, files), ...vmmChecks(settings, files)];
  const counts = { works: 0, degraded: 0, broken: 0 };
  for (const check of checks) {
    const finding = await run(check, signal);
    counts[finding.verdict]++;
    print(`${MARKS[finding.verdict]} ${check.name}: ${finding.words}`);
    if (finding.remedy !== undefined)
      print(`    ${finding.verdict === 'broken' ? 'To mend it' : 'Better'}: ${finding.remedy}.`);
  }
  print('');
  print(`${counts.works} work, ${counts.degraded} degraded, ${counts.broken} broken.`);
  print(counts.broken === 0 ? 'Sandboxes can run on this machine.' : 'Sandboxes cannot run on this machine yet.');
  return counts.broken === 0;
}

async function run(check: Check, signal: AbortSignal): Promise<Finding> {
  signal.throwIfAborted();
  try {
    return await check.run(signal);
  } catch (error) {
    return { verdict: 'broken', words: wordsOf(error) };
  }
}
