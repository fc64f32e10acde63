const FLUSH_MS = 120;

/** Gathers bursts: `run` is called once, after `ms`, however often the returned function is. */
export function batched(run: () => void, ms = FLUSH_MS): { (): void; cancel(): void } {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const call = () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      run();
    }, ms);
  };
  call.cancel = () => clearTimeout(timer);
  return call;
}
