/**
 * Loaded before a program of the storm (`node --import`): kills it where `STORM_DEATH` says, and when the storm is gone.
 * The program itself is as it ships; only what leaves it is counted: commits that PostgreSQL is sent, records that are
 * appended to the agent's journal.
 */
import { open } from 'node:fs/promises';
import pg from 'pg';
import { DEATH, type Death } from './death.ts';

const death = JSON.parse(process.env[DEATH] ?? 'null') as Death | null;
let isCounted = death?.from === 'start';
let writes = 0;

function die(): never {
  process.kill(process.pid, 'SIGKILL');
  for (;;); // the signal comes before anything else is done
}

/** Does one durable write, unless its time has come. */
async function write<T>(work: () => Promise<T>): Promise<T> {
  if (isCounted) writes += 1;
  if (!isCounted || death?.at !== 'write' || writes !== death.n) return work();
  if (death.when === 'before') die();
  const under = work();
  if (death.when === 'during') {
    await new Promise(setImmediate); // it was handed over
    die();
  }
  await under;
  return die();
}

function isCommit(query: unknown): boolean {
  if (typeof query === 'string') return query === 'commit';
  return ((query as { name?: string } | null)?.name ?? '').startsWith('commit_');
}

// biome-ignore lint/suspicious/noExplicitAny: the driver's own overloads are passed through
type Query = (...args: any[]) => any;
const prototype = pg.Client.prototype as unknown as { query: Query };
const query = prototype.query;
prototype.query = function (this: pg.Client, ...args: unknown[]) {
  if (!isCommit(args[0])) return query.apply(this, args);
  const callback = args.findIndex((arg) => typeof arg === 'function');
  if (callback === -1) return write(() => query.apply(this, args));
  const heard = args[callback] as (error: unknown, result?: unknown) => void;
  const rest = args.filter((_, i) => i !== callback);
  return void write<unknown>(() => query.apply(this, rest)).then((result) => heard(null, result), heard);
};

const file = await open('/dev/null');
const handle = Object.getPrototypeOf(file) as { appendFile: Query };
await file.close();
const { appendFile } = handle;
handle.appendFile = function (...args: unknown[]) {
  return write(() => appendFile.apply(this, args)); // only the journal appends
};

function count(): void {
  isCounted = true;
  if (death?.at === 'time') setTimeout(die, death.ms).unref();
}

if (isCounted) count();
else process.stdin.once('data', count); // the storm says that it serves
process.stdin.on('end', () => process.exit(1)).resume();
(process.stdin as unknown as { unref?: () => void }).unref?.();
