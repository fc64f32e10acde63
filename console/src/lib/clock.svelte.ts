import { createSubscriber } from 'svelte/reactivity';

const SECOND_MS = 1_000;

/** The time, once a second, while something shows it and the page is seen. */
class Clock {
  #now = Date.now();
  #subscribe = createSubscriber((update) => {
    const tick = () => {
      if (document.hidden) return;
      this.#now = Date.now();
      update();
    };
    const timer = setInterval(tick, SECOND_MS);
    document.addEventListener('visibilitychange', tick);
    return () => {
      clearInterval(timer);
      document.removeEventListener('visibilitychange', tick);
    };
  });

  /** Milliseconds since 1970. */
  get now(): number {
    this.#subscribe();
    return Math.max(this.#now, Date.now() - SECOND_MS);
  }
}

export const clock = new Clock();
