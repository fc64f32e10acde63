import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { runInImage } from './image-chroot.ts';

/** What one cell of the notebook put out: media types of results, text of streams. */
export interface CellOutput {
  readonly count: number;
  readonly outputs: (string | string[])[];
}

/** Runs a notebook on a Jupyter server with Jupyter's own client for remote kernels, which the image has. */
export async function runNotebook(image: string, jupyterUrl: string): Promise<CellOutput[]> {
  const script = readFileSync(join(import.meta.dirname, 'jupyter-notebook.py'), 'utf8');
  const output = await runInImage(image, ['python3', '-', jupyterUrl], script);
  return output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as CellOutput);
}

/** What the notebook puts out. */
export const NOTEBOOK_OUTPUT: CellOutput[] = [
  { count: 1, outputs: [] },
  { count: 2, outputs: [['application/vnd.wrenn.chart+json', 'image/png', 'text/plain']] },
  { count: 3, outputs: [['text/plain']] },
  { count: 4, outputs: ['a\n'] },
];
