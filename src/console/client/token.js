// What the client shows where the hub asks who it is: a token that was given, then what a function
// says whenever it is asked. It knows no connection.
import { HubError } from './http.js';

/** A function that says nothing for that long is taken for failed. */
export const TOKEN_WAIT_MS = 15_000;
/** A function whose tokens are refused more often than that, one after the other, has none. */
const REFUSALS_MAX = 1;

export class Token {
  #seams; #value; #ask; #lasting;
  /** Whether the value was given, and no hub was shown it yet. */
  #isFresh = false;
  /** Handshakes refused in a row. */
  #refusals = 0;

  /**
   * @param {object} seams
   * @param {string|function} [given] a token, or the function
   * @param {function} [getToken] the function, where `given` is the token to begin with
   */
  constructor(seams, given, getToken) {
    this.#seams = seams;
    this.#lasting = getToken ?? null;
    this.set(given);
  }

  get value() { return this.#value; }
  /** Whether there is a function to ask. */
  get isAsked() { return this.#ask !== null; }

  /**
   * The hub does not take it. A page may be older than the token that came with it, and one that is
   * made in the very second of a revocation is called back too.
   * @returns {boolean} whether what the function says next may be better
   */
  refused() { return this.isAsked && ++this.#refusals <= REFUSALS_MAX; }

  welcomed() { this.#refusals = 0; }

  set(given) {
    const isAsked = typeof given === 'function';
    this.#ask = isAsked ? given : this.#lasting;
    this.#value = isAsked ? undefined : plain(given);
    this.#isFresh = Boolean(this.#value);
  }

  /** Before a connection: a promise where the function is to be asked for its token, else null. */
  next() { return this.#ask && !this.#isFresh ? this.renew() : null; }

  /** The value, which a hub is now shown: the next connection wants another one. */
  shown() {
    this.#isFresh = false;
    return this.#value;
  }

  /** Asks for the one to be shown from now on; rejects with a HubError of code `token_failed`. */
  async renew() {
    const ask = this.#ask;
    const said = await this.#inTime(ask);
    // Another token was given meanwhile.
    if (this.#ask !== ask || this.#isFresh) return;
    this.#value = plain(said);
  }

  #inTime(ask) {
    return new Promise((resolve, reject) => {
      const failed = (message) => reject(new HubError('token_failed', message));
      const late = () => failed(`no token within ${TOKEN_WAIT_MS / 1000} s`);
      const timer = this.#seams.setTimeout(late, TOKEN_WAIT_MS);
      // What a function throws at once is no other fault than a promise that is rejected.
      new Promise((resolved) => { resolved(ask()); })
        .then(resolve, (error) => failed(error?.message))
        .finally(() => this.#seams.clearTimeout(timer));
    });
  }
}

// A file's last line break is no part of a token. What else no header can hold makes it none, which
// the hub shall say: a browser would throw.
function plain(given) {
  return given ? String(given).trim().replace(/[^\w.~+-]/g, '~') : undefined;
}
