const FLUSH_MS = 120;

/** Gathers bursts: `run` is called once, soon, however often the returned function is. */
export function batched(run: () => void): { (): void; cancel(): void } {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const call = () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      run();
    }, FLUSH_MS);
  };
  call.cancel = () => clearTimeout(timer);
  return call;
}
