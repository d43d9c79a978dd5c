// What the client asks of its surroundings: sockets, HTTP, clock, randomness and the page's events.
// Tests pass their own; everything else finds the browser's, or those of Node, Deno and Bun.

/** The surroundings, with what was passed in instead of what is found. */
export function surroundings(given) {
  const { now = () => Date.now(), monotonic } = given;
  const steady = monotonic ?? (given.now ? now : () => globalThis.performance.now());
  return {
    WebSocket: globalThis.WebSocket,
    fetch: (...args) => globalThis.fetch(...args),
    random: () => Math.random(),
    setTimeout: (run, ms) => globalThis.setTimeout(run, ms),
    clearTimeout: (timer) => globalThis.clearTimeout(timer),
    window: globalThis,
    document: globalThis.document,
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
    now,
    elapsed: elapsedOf(now, steady),
  };
}

/**
 * Milliseconds that passed: the larger step of two clocks. The wall clock may be set back, and the
 * steady one may stand still while the machine sleeps; never both in a way that loses a minute.
 */
function elapsedOf(now, steady) {
  let [sum, wall, ticks] = [0, now(), steady()];
  return () => {
    const [newWall, newTicks] = [now(), steady()];
    sum += Math.max(0, newWall - wall, newTicks - ticks);
    [wall, ticks] = [newWall, newTicks];
    return sum;
  };
}

/** A wait between `min` and a ceiling that doubles with each attempt, up to `max` (full jitter). */
export function jitter(random, attempt, { min, max }) {
  const ceiling = Math.min(max, min * 2 ** attempt);
  return min + random() * (ceiling - min);
}
