import { CARGO_PARTS } from './cargo.ts';
import { CHECKS } from './checks.ts';
import type { Part } from './part.ts';
import { VITEST_PARTS } from './vitest.ts';

/**
 * Runs every part whatever the others say, and ends with the one line that sums them up.
 * @returns the exit status.
 */
export async function test(which: 'all' | 'checks'): Promise<number> {
  const parts = which === 'all' ? [...CHECKS, ...CARGO_PARTS, ...VITEST_PARTS] : CHECKS;
  const total = { passed: 0, failed: 0 };
  const summary: string[] = [];
  const failures: string[] = [];
  for (const part of parts) {
    const { passed, failed, seconds, failures: its = [] } = await timed(part);
    failures.push(...its);
    total.passed += passed;
    total.failed += failed;
    summary.push(
      `  ${part.name}: ${failed === 0 ? `${passed} passed` : `${failed} FAILED, ${passed} passed`}, ${seconds} s`,
    );
    console.log(summary.at(-1));
  }
  if (failures.length > 0) console.log(`\nWhat failed:\n${failures.map((one) => `\n    ${one}`).join('\n')}`);
  console.log(`\n${summary.join('\n')}\n\n${total.passed} passed, ${total.failed} failed`);
  return total.failed === 0 ? 0 : 1;
}

async function timed(part: Part) {
  console.log(`\n${part.name} …`);
  const began = Date.now();
  const outcome = await part.run();
  return { ...outcome, seconds: ((Date.now() - began) / 1000).toFixed(1) };
}
