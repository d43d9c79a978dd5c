// The hub's numbers: those of the last hour, and each new sample. Reconnects by itself.
import { ask, listen } from './hub.js';

/** Samples that are kept: an hour. */
const SAMPLES_MAX = 1800;
const RETRY_MS = 2000;

export class Feed extends EventTarget {
  /** When each sample was taken, in seconds since 1970. */
  at = [];
  /** Each number's values, beside `at`. */
  series = {};
  /** The newest event, whole. */
  last = null;
  /** `connecting`, `live` or `lost`. */
  state = 'connecting';
  #stop = new AbortController();

  /** Begins, and goes on until `stop`. */
  async run() {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        this.#restore(await ask('v1/hub/past', { signal }));
        await listen('v1/hub/feed', (event) => this.#hear(event), signal);
      } catch (error) {
        if (signal.aborted) return;
        if (error.status === 401 || error.status === 403) {
          this.dispatchEvent(new CustomEvent('refused', { detail: error }));
          return;
        }
      }
      if (signal.aborted) return;
      this.#become('lost');
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  }

  stop() {
    this.#stop.abort();
  }

  #restore({ at, series }) {
    this.at = at.map((ms) => ms / 1000);
    this.series = series;
    this.dispatchEvent(new Event('sample'));
  }

  #hear({ name, data }) {
    if (name !== 'sample') return;
    this.last = JSON.parse(data);
    const { at, numbers } = this.last;
    if (at !== null && at / 1000 > (this.at.at(-1) ?? 0)) {
      this.at.push(at / 1000);
      for (const [number, value] of Object.entries(numbers))
        (this.series[number] ??= []).push(value);
      if (this.at.length > SAMPLES_MAX) {
        this.at.shift();
        for (const values of Object.values(this.series)) values.shift();
      }
    }
    this.#become('live');
    this.dispatchEvent(new Event('sample'));
  }

  #become(state) {
    if (this.state === state) return;
    this.state = state;
    this.dispatchEvent(new Event('state'));
  }
}
