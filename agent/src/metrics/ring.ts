/** What a sandbox used in one step. Sizes are KiB: exact up to 16 GiB, and to 0.1 ‰ beyond. */
export interface Usage {
  /** Share of its vCPUs, 0–100. */
  readonly cpuPct: number;
  /** Memory of its VMM on the host. */
  readonly rssKib: number;
  /** By the guest's own account; NaN until it has told. */
  readonly memKib: number;
  readonly diskKib: number;
}

export interface Point extends Usage {
  /** Beginning of the step, milliseconds since 1970. */
  readonly at: number;
}

/** CPU, how many samples are in it, VMM's memory, guest's memory, guest's disk. */
const COLUMNS = 5;

/**
 * The last `size` steps of `stepMs` each: the mean of CPU, the maximum of the rest. A step's place follows from its time, so
 * that a time in which nothing was sampled (a pause) is a gap and costs nothing.
 */
export class Ring {
  readonly stepMs: number;
  readonly size: number;
  /** Number of the step in each place, counted from 1970; 0 = none. */
  readonly #steps: Float64Array;
  readonly #values: Float32Array;

  constructor(stepMs: number, size: number) {
    this.stepMs = stepMs;
    this.size = size;
    this.#steps = new Float64Array(size);
    this.#values = new Float32Array(size * COLUMNS);
  }

  add(at: number, { cpuPct, rssKib, memKib, diskKib }: Usage): void {
    const step = Math.floor(at / this.stepMs);
    const place = step % this.size;
    const row = place * COLUMNS;
    const values = this.#values;
    if (this.#steps[place] !== step) {
      this.#steps[place] = step;
      values.set([cpuPct, 1, rssKib, memKib, diskKib], row);
      return;
    }
    const count = (values[row + 1] ?? 0) + 1;
    const mean = values[row] ?? 0;
    values[row] = mean + (cpuPct - mean) / count;
    values[row + 1] = count;
    values[row + 2] = Math.max(values[row + 2] ?? 0, rssKib);
    values[row + 3] = larger(values[row + 3] ?? Number.NaN, memKib);
    values[row + 4] = larger(values[row + 4] ?? Number.NaN, diskKib);
  }

  /** The steps that are kept and not older than the ring is long, oldest first. */
  points(now: number): Point[] {
    const last = Math.floor(now / this.stepMs);
    const found: Point[] = [];
    for (let step = last - this.size + 1; step <= last; step += 1) {
      const place = ((step % this.size) + this.size) % this.size;
      if (this.#steps[place] !== step) continue;
      const [cpuPct = 0, , rssKib = 0, memKib = Number.NaN, diskKib = Number.NaN] = this.#values.subarray(
        place * COLUMNS,
        (place + 1) * COLUMNS,
      );
      found.push({ at: step * this.stepMs, cpuPct, rssKib, memKib, diskKib });
    }
    return found;
  }

  get bytes(): number {
    return this.#steps.byteLength + this.#values.byteLength;
  }

  write(target: Buffer, offset: number): number {
    offset += bytesOf(this.#steps).copy(target, offset);
    return offset + bytesOf(this.#values).copy(target, offset);
  }

  read(source: Buffer, offset: number): number {
    offset += source.copy(bytesOf(this.#steps), 0, offset);
    return offset + source.copy(bytesOf(this.#values), 0, offset);
  }
}

function bytesOf(array: Float64Array | Float32Array): Buffer {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength);
}

/** NaN stands for not known. */
function larger(a: number, b: number): number {
  if (Number.isNaN(a)) return b;
  return Number.isNaN(b) ? a : Math.max(a, b);
}
