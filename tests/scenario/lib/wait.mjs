// wait - time limits for stories: nothing in a scenario may wait for ever.
//
// SPDX-License-Identifier: Apache-2.0
import { setTimeout as sleep } from 'node:timers/promises';

export { sleep };

/// 'address' (with undefined), 'thread', or '' in a plain build.
export const sanitizer = process.env.PENSTOCK_SANITIZER ?? '';

/// How much slower than a plain build the program may be: limits are multiplied by it.
export const slowness = { '': 1, address: 4, thread: 8 }[sanitizer] ?? 1;

/// Milliseconds on a clock that never jumps.
export function now() {
  return performance.now();
}

/// The promise's value, or an error that names what was waited for. ms is not scaled.
export async function within(ms, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/// Asks until check() is truthy and returns that; an error after ms (scaled by slowness).
export async function until(what, check, ms = 5000, every = 5) {
  const deadline = now() + ms * slowness;
  for (;;) {
    const value = await check();
    if (value) {
      return value;
    }
    if (now() > deadline) {
      throw new Error(`${what}: not within ${ms * slowness} ms`);
    }
    await sleep(every);
  }
}
