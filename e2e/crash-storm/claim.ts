/** What a client knows of one sandbox: one that it asked for, or a child of a fork. */
export interface Claim {
  readonly key: string;
  /** What its create asked for; null for a child of a fork. */
  readonly create: CreateAsked | null;
  /** Of the first answer. */
  status: number | null;
  id: string | null;
  code: string | null;
  /** `asked`: a DELETE was sent; `done`: it was answered as done. */
  destroy: 'no' | 'asked' | 'done';
  destroyCode: string | null;
  /** What was done with it, with the first answers; the last pause or resume that was done says where it stands. */
  readonly moves: Move[];
}

export interface CreateAsked {
  readonly wait: boolean;
  readonly template: string;
  /** Null: the template's own, or the default, for which VMs are made ahead. */
  readonly memoryMb: number | null;
}

export interface Move {
  readonly path: 'pause' | 'resume' | 'fork' | 'snapshot';
  readonly key: string;
  /** 0: it is not known how it came out (its answer was lost, and it cannot be asked for again). */
  status: number;
  code: string | null;
  /** Why it failed, in the words of the answer. */
  message: string | null;
  /** Of a fork: what became of each child. */
  children: readonly Child[];
}

export interface Child {
  readonly id: string;
  readonly error: string | null;
}

/** A snapshot that a client has made under a name. */
export interface Named {
  readonly name: string;
  readonly sandboxId: string;
  deleted: boolean;
}

export const isDone = ({ status }: Move): boolean => status === 200 || status === 201;

/** Where the moves of a claim leave it. */
export function restOf({ moves }: Claim): 'paused' | 'running' {
  const last = moves.findLast((move) => (move.path === 'pause' || move.path === 'resume') && isDone(move));
  return last?.path === 'pause' ? 'paused' : 'running';
}

/** As a line of a finding. */
export function sayClaim({ key, id, create, status, code, destroy, destroyCode, moves }: Claim): string {
  const from = create === null ? 'by fork' : `from ${create.template}`;
  const moved = moves.map((move) => `${move.path} ${move.status} ${move.code ?? ''} ${move.message ?? ''}`.trimEnd());
  return `${key} ${id} ${from}: ${[`${status} ${code ?? ''}`, ...moved, `destroy ${destroy} ${destroyCode ?? ''}`].join('; ')}`;
}
