// What the client shows where the hub asks who it is: a token that was given, or what a function
// says whenever it is asked. It knows no connection.
import { HubError } from './http.js';

/** A function that says nothing for that long is taken for failed. */
export const TOKEN_WAIT_MS = 15_000;

export class Token {
  #seams; #value; #ask;

  constructor(seams, given) {
    this.#seams = seams;
    this.set(given);
  }

  /** What is shown now. */
  get value() { return this.#value; }
  /** Whether there is a function to ask. */
  get isAsked() { return this.#ask !== null; }

  set(given) {
    const isAsked = typeof given === 'function';
    this.#ask = isAsked ? given : null;
    this.#value = isAsked ? undefined : given;
  }

  /** Asks for the one to be shown from now on; rejects with a HubError of code `token_failed`. */
  async renew() {
    const ask = this.#ask;
    const said = await this.#inTime(ask);
    // Another token was given meanwhile.
    if (this.#ask === ask) this.#value = said || undefined;
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
