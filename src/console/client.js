// @ts-self-types="./client.d.ts"
/**
 * Client of a cpi-hub space: one WebSocket (subprotocol `cpi-hub.v1`) that reconnects by itself,
 * resumes by position, and neither loses nor repeats a chat message while the page lives. It runs
 * in browsers, and in Node, Deno and Bun; it may be bundled, and then needs `url`.
 *
 *     import { HubClient } from 'https://hub.example/client.js';
 *     const hub = new HubClient({ spaceId: 1, userId: 7, username: 'Ana' });
 *     hub.addEventListener('chat', ({ detail }) => console.log(detail.username, detail.content));
 *     hub.connect();
 *     await hub.send('hola', { ack: 'durable' });
 */
import { readAll, readFound, readPage, readPresence } from './client/history.js';
import { HubError, baseOf, request } from './client/http.js';
import { Link, SUBPROTOCOL } from './client/link.js';
import { Outbox, encode } from './client/outbox.js';
import { Replay } from './client/replay.js';
import { Roster } from './client/roster.js';
import { jitter, surroundings } from './client/seams.js';
import { Token } from './client/token.js';

export { HubError } from './client/http.js';
export { SUBPROTOCOL, retryDelay } from './client/link.js';
export { PENDING_MAX, RESEND_WINDOW_MS, STORING_MAX } from './client/outbox.js';
export { HELD_MAX } from './client/replay.js';

const UNREACHABLE = 1006;
const RENEW_AGAIN = { min: 500, max: 20_000 };
const TOKEN_PROTOCOL = 'token.';
const UPGRADE_MESSAGE = 'Error upgrading WebSocket connection';
const utf8 = new TextEncoder();

/**
 * Events (each a CustomEvent, data in `detail`):
 * - `state` {state: connecting|open|waiting|closed, reason, code, retryAt, retryInMs}
 * - `open`; `welcome` {connection_id, position, members, message_bytes_max, ...}
 * - `chat` {id, content, user_id, username, space_id, timestamp, image, history}: each id once, in
 *   order; `history` is true for what was read back over HTTP to fill a gap
 * - `join`, `leave` {user_id, username, space_id, timestamp}: each once, from the client's own
 *   first join on, though a resume replays them; `presence` {members}: only that, in big spaces
 * - `people` {members, users}, with option `people`: who is here, after each change; `users` is
 *   null where only the number is known
 * - `resumed` {from, to, count, complete, reason}: caught up, live from here
 * - `gap` {after, from, reason}: the hub can't replay (after, from]; unless `preventDefault()` is
 *   called, the client reads it over HTTP and dispatches it before anything newer. What can't be
 *   read within a minute is told by a `gap` with reason `not_filled` and passed over
 * - `expiring` {expires_in_ms}: the token ends soon; set `token` to the next one, unless there is
 *   `getToken`: that is asked then
 * - `ack` {nonce, id, level, duplicate}; `closing` {code, reason, retry_after_ms}
 * - `error` {code, message, ref, id, retry_after_ms}; with code `token_failed`: `getToken` gave
 *   none, and is asked again in a while
 */
export class HubClient extends EventTarget {
  #options; #seams; #base; #token; #link; #outbox; #replay; #roster;
  #limits = null;

  /**
   * @param {object} options
   * @param {string} [options.url] address of the hub; default: where this module came from
   * @param {number|string} options.spaceId
   * @param {number|string} options.userId
   * @param {string} [options.username] default: the hub's `User{id}`
   * @param {string} [options.token] where the hub asks for one: a token, or a program's key
   * @param {function} [options.getToken] gives a token or a promise of it: asked before each
   *   connection, but for the one that `token` was given for, and when the last one ends soon. As
   *   `token` itself it does the same
   * @param {string} [options.after] position to resume from: id of the last message seen
   * @param {boolean} [options.people] keep the list of who is here: one more request a connection
   * @param {typeof WebSocket} [options.WebSocket] where the runtime has none, or another one
   * @param {typeof fetch} [options.fetch]
   * @param {object} [seams] clock, randomness and timers, for tests
   */
  constructor({ url, token, getToken, after, WebSocket, fetch, ...options }, seams = {}) {
    super();
    this.#options = options;
    this.#base = baseOf(url ?? home());
    this.#seams = surroundings({ WebSocket, fetch, ...seams });
    this.#token = new Token(this.#seams, token, getToken);
    this.#link = new Link(this.#seams, {
      address: () => this.#address('ws'),
      protocols: () => this.#protocols(),
      renewal: () => this.#token.next(),
      renews: () => this.#token.isAsked,
      untold: (error) => this.#untold(error),
      explain: (attempt) => this.#explain(attempt),
      handshaken: () => this.#emit('open', {}),
      heard: (conn, frame) => this.#heard(conn, frame),
      became: (state) => this.#emit('state', state),
      lost: (conn, code) => {
        this.#roster?.left();
        this.#outbox.lost(conn, code);
      },
      stopped: (reason) => this.#outbox.stopped(reason),
    });
    this.#outbox = new Outbox(this.#seams, this.#link, {
      post: () => this.#post(),
      ack: (data) => this.#ack(data),
      error: (data) => this.#error(data),
    });
    this.#replay = new Replay(this.#seams, after ?? null, this.#arrivals());
    if (options.people) this.#roster = this.#newRoster();
  }

  /** @returns {{state: string, reason: string, code?: number, retryAt?: number}} */
  get state() { return this.#link.state; }
  /** Id of the last message dispatched; hand it to a later client as `after`. */
  get position() { return this.#replay.position; }
  /** The hub's last `welcome`, or null. */
  get limits() { return this.#limits; }
  /** With option `people`: who is here, as the last `people` event said; else null. */
  get people() { return this.#roster?.people ?? null; }
  /**
   * Set at `expiring`: the hub is shown the next token, and the connection goes on. Or set after a
   * close with reason `unauthorized`, then call `connect()`.
   */
  set token(token) {
    const shown = this.#token.value;
    this.#token.set(token);
    if (shown) this.#show();
  }

  /** Connects, or retries at once when waiting. @returns {this} */
  connect() {
    this.#link.connect();
    return this;
  }

  /** Leaves for good; what is still unanswered is rejected with `closed`. */
  close() {
    this.#link.close();
  }

  /**
   * Sends a chat message. While disconnected it waits; after a loss it is sent again with the same
   * nonce, which the hub publishes once. What is too long for the socket goes by POST.
   * @param {string} content
   * @param {{ack?: 'accepted'|'durable', image?: string, nonce?: string}} [options]
   *   `nonce`: your own key, to repeat a send safely or to match `ack` events
   * @returns {Promise<{id: string, level: string, duplicate: boolean}>} rejects with a HubError
   */
  send(content, { ack = 'accepted', image, nonce = HubClient.nonce() } = {}) {
    const { state, reason } = this.state;
    if (state === 'closed' && reason !== 'new') {
      return Promise.reject(new HubError('closed', 'the connection is closed'));
    }
    return this.#outbox.send(content, { ack, image, nonce });
  }

  /**
   * Size of a message against the hub's limits (null before the first welcome). `fits` is about
   * `chars` alone: what has more than `bytesMax` goes by POST.
   * @returns {{chars: number, charsMax: ?number, bytes: number, bytesMax: ?number, fits: boolean}}
   */
  measure(content, { ack = 'durable', image, nonce = '0'.repeat(16) } = {}) {
    const chars = [...content].length;
    const bytes = utf8.encode(encode(content, { ack, image, nonce })).length;
    const charsMax = this.#limits?.content_chars_max ?? null;
    const bytesMax = this.#limits?.message_bytes_max ?? null;
    return { chars, charsMax, bytes, bytesMax, fits: chars <= (charsMax ?? Infinity) };
  }

  /** A page of the history of this client's space; see the static method. */
  history(range) {
    return this.#asked((via) => readPage(this.#options.spaceId, { ...via, ...range }));
  }

  /** The history of this client's space, one by one; see the static method. */
  messages(range = {}) {
    return readAll((page) => this.history(page), range, this.#seams);
  }

  /** What was said in this client's space, found by its words; see the static method. */
  search(query, options) {
    return this.#asked((via) => readFound(this.#options.spaceId, query, { ...via, ...options }));
  }

  /** Who is in this client's space: {members, users: [{user_id, username, connections}]}. */
  presence(options) {
    return this.#asked((via) => readPresence(this.#options.spaceId, { ...via, ...options }));
  }

  /**
   * Stored messages of a space, ascending by id. Neither `before` nor `after`: the newest.
   * @returns {Promise<{messages: object[], hasMore: boolean}>}
   */
  static async history(spaceId, { url = home(), ...options } = {}) {
    return readPage(spaceId, { ...options, url });
  }

  /**
   * Stored messages of a space one by one, to be taken by `for await`: all behind `after`, or from
   * the first one on, up to `before`; with `newestFirst` the other way round. Each page is asked
   * for when the one before it was taken, and again where the hub is away or busy, for two minutes.
   * @param {{after?: string, before?: string, newestFirst?: boolean, pageSize?: number,
   *   signal?: AbortSignal, url?: string, token?: string, fetch?: Function}} [options]
   * @returns {AsyncGenerator<object>}
   */
  static messages(spaceId, { url = home(), token, fetch, ...range } = {}) {
    const via = { url: baseOf(url), token, fetch };
    return readAll((page) => readPage(spaceId, { ...via, ...page }), range, surroundings({}));
  }

  /**
   * What was said in a space and has all of these words, newest first; `"words in a row"`, and
   * `wor*` for words that begin so. Where the hub has it off, rejects with code `search_off`.
   * @param {{before?: string, limit?: number, signal?: AbortSignal, url?: string, token?: string,
   *   fetch?: Function}} [options] `before`: the id of the last message of the page before
   * @returns {Promise<{messages: object[], hasMore: boolean, complete: boolean}>} `complete`: false
   *   while the hub's index does not have all messages yet
   */
  static async search(spaceId, query, { url = home(), ...options } = {}) {
    return readFound(spaceId, query, { ...options, url });
  }

  /** Who is in a space: {members, users: [{user_id, username, connections}], truncated}. */
  static async presence(spaceId, { url = home(), ...options } = {}) {
    return readPresence(spaceId, { ...options, url });
  }

  /** A fresh 16-byte key for `send`. */
  static nonce() {
    const bytes = crypto.getRandomValues(new Uint8Array(12));
    return btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_');
  }

  #heard(conn, { type, data = {}, ...outer }) {
    switch (type) {
      case 'welcome': return this.#welcome(conn, data, outer);
      case 'ack': return this.#ack(data);
      case 'error': return this.#error(data);
      case 'resumed': return this.#replay.resumed(conn, data);
      case 'closing': return this.#emit('closing', data);
      case 'expiring':
        if (this.#token.isAsked) this.#renew(conn);
        return this.#emit('expiring', data);
      case 'chat': case 'join': case 'leave': case 'presence':
        if (!this.#replay.take({ type, data, ...outer })) {
          this.#link.lost(conn, UNREACHABLE, 'behind');
        }
    }
  }

  #welcome(conn, data, { timestamp }) {
    this.#limits = data;
    this.#token.welcomed();
    this.#replay.welcomed(data.position);
    this.#link.welcomed(conn, data.ping_period_ms, Date.parse(timestamp));
    // Before any event: what a listener sends comes after what waited.
    this.#outbox.welcomed(data);
    this.#link.opened();
    if (!this.#isCurrent(conn)) return;
    this.#emit('welcome', data);
    if (this.#isCurrent(conn)) this.#roster?.heardOf(data.members);
  }

  #isCurrent(conn) { return this.#link.conn === conn; }

  // A longer token is for the next connection, as the first one is where the hub asks for none.
  #show() {
    const conn = this.#link.open;
    const token = this.#token.value;
    const text = JSON.stringify({ type: 'auth', data: { token } });
    const fits = utf8.encode(text).length <= this.#limits?.message_bytes_max;
    if (!conn || !token || !fits) return;
    conn.socket.send(text);
    this.#token.shown();
  }

  // Asks for the next token until it is there, or the connection has ended without it.
  async #renew(conn) {
    for (let tries = 1; this.#isCurrent(conn) && this.#token.isAsked; tries++) {
      const error = await this.#token.renew().then(() => null, (failed) => failed);
      if (!this.#isCurrent(conn)) return;
      if (!error) return this.#show();
      this.#untold(error);
      const ms = jitter(this.#seams.random, tries, RENEW_AGAIN);
      await new Promise((resolve) => { this.#seams.setTimeout(resolve, ms); });
    }
  }

  #untold({ code, message }) {
    this.#emit('error', { code, message });
  }

  #arrivals() {
    return {
      history: (range, waitMs) => this.history({ ...range, waitMs }),
      isCurrent: (conn) => this.#isCurrent(conn),
      isOwn: (userId) => userId === Number(this.#options.userId),
      chat: (message) => this.#emit('chat', message),
      join: (who, own) => {
        if (own) this.#roster?.entered(who);
        else this.#roster?.join(who);
        this.#emit('join', who);
      },
      leave: (who) => {
        const username = who.username || (this.#roster?.nameOf(who.user_id) ?? '');
        this.#roster?.leave(who);
        this.#emit('leave', { ...who, username });
      },
      presence: (data) => {
        this.#roster?.counted(data.members);
        this.#emit('presence', data);
      },
      gap: (hole) => this.#emit('gap', hole),
      resumed: (data) => this.#emit('resumed', data),
      unfilled: ({ after, from, ...error }) => {
        this.#emit('gap', { after, from, reason: 'not_filled' });
        this.#emit('error', { ...error, after, from });
      },
    };
  }

  #newRoster() {
    return new Roster({
      seams: this.#seams,
      read: () => this.presence(),
      barrier: () => this.#link.barrier(),
      changed: (people) => this.#emit('people', people),
    });
  }

  #ack(data) {
    this.#outbox.acked(data);
    this.#emit('ack', data);
  }

  #error(data) {
    if (!this.#outbox.keeps(data)) this.#emit('error', data);
  }

  // Why a handshake fails, which a browser hides: the same address asked by HTTP answers with it.
  async #explain(attempt) {
    const asked = await request(this.#address('http'), this.#via()).catch((error) => error);
    if (!(asked instanceof HubError)) return null;
    if (asked.status === null) return (await this.#isRefusedHere()) ? refusedHere() : null;
    if (asked.status === 401 && this.#token.refused()) return null;
    const wouldTakeUs = asked.code === 'invalid_upgrade' || asked.message === UPGRADE_MESSAGE;
    if (!wouldTakeUs) return asked.code === 'http_403' ? refusedHere() : asked;
    // A GET of the hub's own page carries no Origin; a POST does. A hub that is just back takes us
    // at the second attempt, so that one is worth a question.
    if (attempt < 2) return null;
    const post = await request(this.#address('http'), this.#via(), { method: 'POST' })
      .catch((error) => error);
    return post.code === 'http_403' ? refusedHere() : null;
  }

  // To a page of an origin that the hub doesn't list, it looks unreachable; unless nothing is read.
  async #isRefusedHere() {
    if (!globalThis.location) return false;
    const { fetch } = this.#via();
    const init = { mode: 'no-cors', cache: 'no-store', signal: AbortSignal.timeout(5_000) };
    return fetch(new URL('livez', this.#base), init).then(() => true, () => false);
  }

  #address(scheme) {
    const { spaceId, userId, username } = this.#options;
    const address = new URL(`v1/ws/spaces/${spaceId}`, this.#base);
    address.protocol = address.protocol.replace('http', scheme);
    const query = { user_id: userId, username, after: this.position };
    for (const [key, value] of Object.entries(query)) {
      if (value != null && value !== '') address.searchParams.set(key, value);
    }
    return address.href;
  }

  // The token goes in a header, not in the address, which proxies log.
  #protocols() {
    const token = this.#token.shown();
    return token ? [SUBPROTOCOL, TOKEN_PROTOCOL + token] : SUBPROTOCOL;
  }

  #post() {
    const { spaceId, userId, username } = this.#options;
    return {
      ask: (init) => {
        const address = new URL(`v1/ws/spaces/${spaceId}/chat`, this.#base);
        return this.#asked((via) => request(address, via, init));
      },
      author: {
        space_id: Number(spaceId), user_id: Number(userId),
        username: username || this.#limits.username,
      },
    };
  }

  // A request may come before the first connection has asked for a token, or after the end of it.
  async #asked(ask) {
    const { isAsked, value } = this.#token;
    if (isAsked && !value) await this.#token.renew();
    try {
      return await ask({ ...this.#via(), url: this.#base });
    } catch (error) {
      if (error.status !== 401 || !isAsked || !value) throw error;
      if (this.#token.value === value) await this.#token.renew();
      return ask({ ...this.#via(), url: this.#base });
    }
  }

  #via() {
    return { token: this.#token.value, fetch: this.#seams.fetch, timers: this.#seams };
  }

  #emit(type, detail) {
    return this.dispatchEvent(new CustomEvent(type, { detail, cancelable: type === 'gap' }));
  }
}

// Where this module came from, if a hub may have served it: a bundle has no such address, or its
// own; a package lies in a folder. In one expression bundlers would take it for the name of a file
// to bring along.
function home() {
  const here = import.meta.url;
  try {
    const { href, pathname } = new URL(here);
    const isServed = pathname.endsWith('/client.js') && !pathname.includes('/node_modules/');
    return isServed ? new URL('.', href).href : '';
  } catch {
    return '';
  }
}

function refusedHere() {
  const origin = globalThis.location?.origin;
  return new HubError('origin_refused', `the hub's setting \`origins\` doesn't list ${origin}`);
}
