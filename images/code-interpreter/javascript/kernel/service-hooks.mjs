import { closeSync, openSync, readSync } from 'node:fs';

/** What the execution service asks of the kernel (languages.py). */
export function installServiceHooks() {
  const before = new Map();
  const hooks = {
    /** Exactly these variables are set beside the kernel's own. */
    setEnvironment(envs) {
      for (const [name, value] of before) {
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
      }
      before.clear();
      for (const [name, value] of Object.entries(envs)) {
        before.set(name, process.env[name]);
        process.env[name] = value;
      }
    },
    /** V8 takes no new seed, so that from now on Math.random takes its numbers from the kernel's generator. */
    reseed() {
      Math.random = randomFromKernel();
    },
  };
  Object.defineProperty(globalThis, Symbol.for('wrenn.kernel'), { value: hooks });
}

const BATCH = 256;

function randomFromKernel() {
  const numbers = new BigUint64Array(BATCH);
  let next = BATCH;
  return function random() {
    if (next === BATCH) {
      const fd = openSync('/dev/urandom', 'r');
      readSync(fd, numbers);
      closeSync(fd);
      next = 0;
    }
    return Number(numbers[next++] >> 11n) / 2 ** 53;
  };
}
