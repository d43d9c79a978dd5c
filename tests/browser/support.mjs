// What several files of tests need: patience, and randomness that can be repeated.
import assert from 'node:assert/strict';

export const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** Waits until something holds, 30 s at most. */
export async function until(what, holds) {
  for (const end = Date.now() + 30_000; ;) {
    if (await holds()) return;
    assert.ok(Date.now() < end, `${what}: not within 30 s`);
    await wait(50);
  }
}

/** Random numbers of a seed (mulberry32). */
export function randomOf(seed) {
  let s = seed;
  return () => {
    s = (s + 0x6d2b79f5) | 0;
    let t = Math.imul(s ^ (s >>> 15), 1 | s);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
