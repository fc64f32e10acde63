import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { runInImage } from './image-chroot.ts';

/** What one cell of the notebook put out: media types of results, text of streams. */
export interface CellOutput {
  /** Of the cell in its notebook, as the client counts. */
  readonly count: number;
  readonly outputs: (string | string[])[];
}

export interface NotebookRun {
  readonly cells: readonly string[];
  /** Of each request, WebSockets included. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Runs in this kernel instead of a new one. */
  readonly kernel?: string;
  /** The kernel lives on. */
  readonly keep?: boolean;
}

export interface NotebookResult {
  readonly cells: CellOutput[];
  /** Id of the kernel. */
  readonly kernel: string;
}

/** Runs a notebook on a Jupyter server with Jupyter's own client for remote kernels, which the image has. */
export async function runNotebook(image: string, jupyterUrl: string, run: NotebookRun): Promise<NotebookResult> {
  const script = readFileSync(join(import.meta.dirname, 'jupyter-notebook.py'), 'utf8');
  const wish = { headers: {}, kernel: null, keep: false, ...run, url: jupyterUrl };
  const output = await runInImage(image, ['python3', '-', JSON.stringify(wish)], script);
  const lines = output.trim().split('\n');
  const kernel = lines.pop() ?? '';
  return { cells: lines.map((line) => JSON.parse(line) as CellOutput), kernel };
}

export const NOTEBOOK = [
  'import matplotlib.pyplot as plt\nx = 20',
  'plt.plot([1, 2]); plt.show()',
  'x + 1',
  "print('a', flush=True)",
];
/** What it puts out. */
export const NOTEBOOK_OUTPUT: CellOutput[] = [
  { count: 1, outputs: [] },
  { count: 2, outputs: [['application/vnd.wrenn.chart+json', 'image/png', 'text/plain']] },
  { count: 3, outputs: [['text/plain']] },
  { count: 4, outputs: ['a\n'] },
];
