import type { ActorRef } from '../definition.ts';
import type { TimerRow } from '../step/actor-state.ts';
import { refKey } from '../step/refs.ts';

interface Item {
  readonly ref: ActorRef;
  readonly timer: TimerRow;
  cancelled: boolean;
}

/** setTimeout counts in a signed 32-bit number; a longer wait is made of several. */
const LONGEST_WAIT_MS = 2 ** 31 - 1;

/** Timers that are due within the store's horizon, in a heap, with one timeout of the process for the earliest. */
export class TimerQueue {
  readonly #now: () => number;
  readonly #fire: (ref: ActorRef, timer: TimerRow) => void;
  readonly #items = new Map<string, Item>();
  #heap: Item[] = [];
  #timeout: NodeJS.Timeout | undefined;
  #wakeAt = Number.POSITIVE_INFINITY;

  constructor(now: () => number, fire: (ref: ActorRef, timer: TimerRow) => void) {
    this.#now = now;
    this.#fire = fire;
  }

  get size(): number {
    return this.#items.size;
  }

  set(ref: ActorRef, timer: TimerRow): void {
    const key = keyOf(ref, timer.name);
    const present = this.#items.get(key);
    // What was read from the store may be older than what a commit has set since.
    if (present && present.timer.visit > timer.visit) return;
    if (present?.timer.visit === timer.visit && present.timer.dueAt === timer.dueAt) return;
    if (present) present.cancelled = true;
    const item: Item = { ref, timer, cancelled: false };
    this.#items.set(key, item);
    push(this.#heap, item);
    if (timer.dueAt < this.#wakeAt) this.#arm();
  }

  clear(ref: ActorRef, name: string): void {
    const key = keyOf(ref, name);
    const item = this.#items.get(key);
    if (!item) return;
    item.cancelled = true;
    this.#items.delete(key);
    // Cancelled items leave when they come to the top; when most are cancelled the heap is made anew.
    if (this.#heap.length > 64 && this.#heap.length > 2 * this.#items.size) this.#rebuild();
  }

  release(lost: (ref: ActorRef) => boolean): void {
    for (const { ref, timer } of [...this.#items.values()]) if (lost(ref)) this.clear(ref, timer.name);
  }

  stop(): void {
    clearTimeout(this.#timeout);
    this.#items.clear();
    this.#heap = [];
  }

  #arm(): void {
    clearTimeout(this.#timeout);
    const first = this.#first();
    this.#wakeAt = first ? first.timer.dueAt : Number.POSITIVE_INFINITY;
    if (!first) return;
    const wait = Math.min(Math.max(0, first.timer.dueAt - this.#now()), LONGEST_WAIT_MS);
    this.#timeout = setTimeout(() => this.#due(), wait);
  }

  #due(): void {
    const now = this.#now();
    for (let item = this.#first(); item && item.timer.dueAt <= now; item = this.#first()) {
      pop(this.#heap);
      this.#items.delete(keyOf(item.ref, item.timer.name));
      this.#fire(item.ref, item.timer);
    }
    this.#arm();
  }

  #first(): Item | undefined {
    while (this.#heap[0]?.cancelled) pop(this.#heap);
    return this.#heap[0];
  }

  #rebuild(): void {
    const items = [...this.#items.values()].sort((a, b) => a.timer.dueAt - b.timer.dueAt);
    this.#heap = items; // a sorted array is a heap
  }
}

function keyOf(ref: ActorRef, name: string): string {
  return `${refKey(ref)} ${name}`;
}

function push(heap: Item[], item: Item): void {
  let at = heap.push(item) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    const above = heap[parent] as Item;
    if (above.timer.dueAt <= item.timer.dueAt) break;
    heap[at] = above;
    at = parent;
  }
  heap[at] = item;
}

function pop(heap: Item[]): void {
  const last = heap.pop();
  if (!last || heap.length === 0) return;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    const right = heap[child + 1];
    if (right && right.timer.dueAt < (heap[child] as Item).timer.dueAt) child += 1;
    const below = heap[child] as Item;
    if (below.timer.dueAt >= last.timer.dueAt) break;
    heap[at] = below;
    at = child;
  }
  heap[at] = last;
}
