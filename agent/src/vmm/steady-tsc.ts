import { readFile, rename, writeFile } from 'node:fs/promises';
import { tscKhz } from '@wrenn/addon';

/** Two measurements of one counter differ by less; two machines hardly ever do. */
const TOLERANCE = 0.001;

/**
 * The host's TSC frequency, the same at every start of the agent: a measurement that agrees with the one kept in `file`
 * gives that one. Snapshots are bound to it (SN12), and a guest was told it for good when it booted.
 */
export async function steadyTscKhz(file: string): Promise<number> {
  const measured = await tscKhz();
  const kept = Number(await readFile(file, 'utf8').catch(() => '0'));
  if (Math.abs(kept - measured) < measured * TOLERANCE) return kept;
  await writeFile(`${file}.new`, `${measured}\n`);
  await rename(`${file}.new`, file);
  return measured;
}
