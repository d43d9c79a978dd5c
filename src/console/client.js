/**
 * Browser client of a cpi-hub space: one WebSocket (subprotocol `cpi-hub.v1`) that reconnects by
 * itself, resumes by position, and neither loses nor repeats a chat message while the page lives.
 *
 *     import { HubClient } from 'https://hub.example/client.js';
 *     const hub = new HubClient({ spaceId: 1, userId: 7, username: 'Ana' });
 *     hub.addEventListener('chat', ({ detail }) => console.log(detail.username, detail.content));
 *     hub.connect();
 *     await hub.send('hola', { ack: 'durable' });
 */

export const SUBPROTOCOL = 'cpi-hub.v1';
/** Sends without any answer yet; one more is refused with `too_many_pending`. */
export const PENDING_MAX = 32;
/** Accepted sends waiting for `durable`; over it the oldest resolves with level `accepted`. */
export const STORING_MAX = 32;
/** Frames held while missed messages are fetched; over it the client reconnects and goes on. */
export const HELD_MAX = 20_000;
/** A resend is safe within the hub's publish-once window (2 min); the rest is for the way there. */
export const RESEND_WINDOW_MS = 110_000;

const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 20_000;
const TOO_FAST_MS = 10_000;
const STABLE_MS = 10_000;
const ANSWER_MS = 10_000;
const WELCOME_MS = 15_000;
const FILL_LIMIT = 100;
const FILL_TRIES_MAX = 5;
const UNREACHABLE = 1006;
const TOO_BIG = 1009;
const STOPS = new Set([1002, 1007, 1008, 4001, 4003, 4009]);
const RETRIES = new Set([1009, 1011, 1012, 1013, 4008, 4029]);
const REFUSALS = new Set(['unauthorized', 'forbidden', 'invalid_parameter']);
const UPGRADE_MESSAGE = 'Error upgrading WebSocket connection';
const HOME = new URL('.', import.meta.url).href;
const utf8 = new TextEncoder();

/** What the hub (or this client) refused: `code` is a slug such as `rate_limited`. */
export class HubError extends Error {
  constructor(code, message, { retryAfterMs = null, id = null, status = null } = {}) {
    super(message || code);
    Object.assign(this, { name: 'HubError', code, retryAfterMs, id, status });
  }
}

/**
 * Events (each a CustomEvent, data in `detail`):
 * - `state` {state: connecting|open|waiting|closed, reason, code, retryAt, retryInMs}
 * - `open`; `welcome` {connection_id, position, members, message_bytes_max, ...}
 * - `chat` {id, content, user_id, username, space_id, timestamp, image, history}: each id once, in
 *   order; `history` is true for what was read back over HTTP to fill a gap
 * - `join`, `leave` {user_id, username, space_id, timestamp}; `presence` {members}
 * - `resumed` {from, to, count, complete, reason}: caught up, live from here
 * - `gap` {after, from, reason}: the hub can't replay (after, from]; unless `preventDefault()` is
 *   called, the client reads it over HTTP and dispatches it before anything newer
 * - `ack` {nonce, id, level, duplicate}; `closing` {code, reason, retry_after_ms}
 * - `error` {code, message, ref, id, retry_after_ms}
 */
export class HubClient extends EventTarget {
  #options; #seams; #base; #token; #position; #nudge;
  #state = { state: 'closed', reason: 'new' };
  #conn = null;
  #wait = null;
  #attempt = 0;
  #limits = null;
  #pending = new Map();

  /**
   * @param {object} options
   * @param {string} [options.url] address of the hub; default: where this module came from
   * @param {number|string} options.spaceId
   * @param {number|string} options.userId
   * @param {string} [options.username] default: the hub's `User{id}`
   * @param {string} [options.token] where the hub asks for one
   * @param {string} [options.after] position to resume from: id of the last message seen
   * @param {object} [seams] clock, randomness and network, for tests
   */
  constructor({ url = HOME, token, after, ...options }, seams = {}) {
    super();
    this.#options = options;
    this.#base = baseOf(url);
    this.#token = token;
    this.#position = after ?? null;
    this.#seams = {
      WebSocket: globalThis.WebSocket,
      fetch: (...args) => globalThis.fetch(...args),
      now: () => Date.now(),
      random: () => Math.random(),
      setTimeout: (run, ms) => globalThis.setTimeout(run, ms),
      clearTimeout: (timer) => globalThis.clearTimeout(timer),
      window: globalThis,
      document: globalThis.document,
      ...seams,
    };
    this.#nudge = () => this.#wake();
  }

  /** @returns {{state: string, reason: string, code?: number, retryAt?: number}} */
  get state() { return this.#state; }
  /** Id of the last message dispatched; hand it to a later client as `after`. */
  get position() { return this.#position; }
  /** The hub's last `welcome`, or null. */
  get limits() { return this.#limits; }
  /** Set after a close with reason `unauthorized`, then call `connect()`. */
  set token(token) { this.#token = token; }

  /** Connects, or retries at once when waiting. @returns {this} */
  connect() {
    if (this.#conn) return this;
    this.#endWait();
    this.#listen('addEventListener');
    const socket = new this.#seams.WebSocket(this.#address('ws'), SUBPROTOCOL);
    const held = this.#position === null ? null : [];
    const conn = { socket, held, closing: null, welcomedAt: null, heardAt: 0, pingedAt: null };
    this.#conn = conn;
    socket.onopen = () => this.#emit('open', {});
    socket.onmessage = ({ data }) => this.#receive(conn, data);
    socket.onclose = ({ code, reason }) => this.#lost(conn, code, reason);
    this.#watch(conn, WELCOME_MS);
    this.#become({ state: 'connecting', reason: this.#state.reason });
    return this;
  }

  /** Leaves for good; what is still unanswered is rejected with `closed`. */
  close() {
    const conn = this.#conn;
    this.#conn = null;
    if (conn) this.#release(conn, 1000);
    if (this.#state.state !== 'closed') this.#stop('left', 1000);
  }

  /**
   * Sends a chat message. While disconnected it waits; after a loss it is sent again with the same
   * nonce, which the hub publishes once.
   * @param {string} content
   * @param {{ack?: 'accepted'|'durable', image?: string, nonce?: string}} [options]
   *   `nonce`: your own key, to repeat a send safely or to match `ack` events
   * @returns {Promise<{id: string, level: string, duplicate: boolean}>} rejects with a HubError
   */
  send(content, { ack = 'accepted', image, nonce = HubClient.nonce() } = {}) {
    return new Promise((resolve, reject) => {
      const text = encode(content, { ack, image, nonce });
      const item = { nonce, ack, content, text, resolve, reject, id: null };
      Object.assign(item, { sentAt: null, conn: null, duplicate: false });
      const refusal = this.#refusal(item);
      if (refusal) return reject(refusal);
      this.#pending.set(nonce, item);
      if (this.#conn?.welcomedAt != null) this.#transmit(item);
    });
  }

  /**
   * Size of a message against the hub's limits (null before the first welcome).
   * @returns {{chars: number, charsMax: ?number, bytes: number, bytesMax: ?number, fits: boolean}}
   */
  measure(content, { ack = 'durable', image, nonce = '0'.repeat(16) } = {}) {
    const chars = [...content].length;
    const bytes = utf8.encode(encode(content, { ack, image, nonce })).length;
    const charsMax = this.#limits?.content_chars_max ?? null;
    const bytesMax = this.#limits?.message_bytes_max ?? null;
    const fits = chars <= (charsMax ?? Infinity) && bytes <= (bytesMax ?? Infinity);
    return { chars, charsMax, bytes, bytesMax, fits };
  }

  /** History of this client's space; see the static method. */
  history(range) {
    return HubClient.history(this.#options.spaceId, { ...this.#http(), ...range });
  }

  /** Who is in this client's space: {members, users: [{user_id, username, connections}]}. */
  presence() {
    const address = new URL(`v1/spaces/${this.#options.spaceId}/presence`, this.#base);
    return request(address, this.#http());
  }

  /**
   * Stored messages of a space, ascending by id. Neither `before` nor `after`: the newest.
   * @returns {Promise<{messages: object[], hasMore: boolean}>}
   */
  static async history(spaceId, { before, after, limit = 50, url = HOME, token, fetch } = {}) {
    const address = new URL(`v1/spaces/${spaceId}/messages`, baseOf(url));
    for (const [key, value] of Object.entries({ before, after, limit })) {
      if (value != null) address.searchParams.set(key, value);
    }
    const body = await request(address, { token, fetch });
    return { messages: body.data, hasMore: body.has_more };
  }

  /** A fresh 16-byte key for `send`. */
  static nonce() {
    const bytes = crypto.getRandomValues(new Uint8Array(12));
    return btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_');
  }

  #receive(conn, text) {
    if (this.#conn !== conn) return;
    conn.heardAt = this.#seams.now();
    let frame;
    try { frame = JSON.parse(text); } catch { return; }
    const data = frame?.data ?? {};
    switch (frame?.type) {
      case 'welcome': return this.#welcome(conn, data);
      case 'ack': return this.#ack(data);
      case 'error': return this.#error(data);
      case 'resumed': return this.#resumed(conn, data);
      case 'closing':
        conn.closing = data;
        return this.#emit('closing', data);
      case 'chat': case 'join': case 'leave': case 'presence':
        if (!conn.held) return this.#deliver(frame);
        if (conn.held.push(frame) > HELD_MAX) this.#lost(conn, UNREACHABLE, 'behind');
    }
  }

  #welcome(conn, data) {
    conn.welcomedAt = this.#seams.now();
    this.#limits = data;
    this.#position ??= data.position;
    this.#watch(conn, data.ping_period_ms);
    // Before any event: what a listener sends comes after what waited.
    for (const item of this.#pending.values()) {
      const age = item.sentAt === null ? 0 : conn.welcomedAt - item.sentAt;
      if (age < RESEND_WINDOW_MS) this.#transmit(item);
      else this.#giveUp(item, 'unknown_outcome', 'no answer within the publish-once window');
    }
    this.#become({ state: 'open', reason: 'welcome' });
    this.#emit('welcome', data);
  }

  #deliver({ type, data, user_id, username = '', space_id, timestamp }) {
    if (type === 'chat') this.#chat(data, false);
    else if (type === 'presence') this.#emit('presence', data);
    else this.#emit(type, { user_id, username, space_id, timestamp });
  }

  #chat(message, history) {
    if (message.id <= this.#position) return;
    this.#position = message.id;
    this.#emit('chat', { ...message, history });
  }

  // The replay is held until `resumed`, because only that frame tells of a hole before it.
  async #resumed(conn, data) {
    if (!data.complete) {
      const { from, reason } = data;
      const wanted = this.#emit('gap', { after: this.#position, from, reason });
      if (data.reason === 'ahead') this.#position = data.to;
      else if (wanted) await this.#fill(conn, from);
      if (this.#conn !== conn) return;
    }
    for (const frame of conn.held ?? []) {
      if (this.#conn !== conn) return;
      this.#deliver(frame);
    }
    conn.held = null;
    if (data.to > this.#position) this.#position = data.to;
    this.#emit('resumed', data);
  }

  // Reads by `after` alone: the hole includes `from`, which `before=from` would leave out.
  async #fill(conn, from) {
    for (let tries = 0; tries < FILL_TRIES_MAX;) {
      try {
        const page = await this.history({ after: this.#position, limit: FILL_LIMIT });
        for (const message of page.messages) {
          if (this.#conn !== conn || message.id > from) return;
          this.#chat(message, true);
        }
        if (!page.hasMore || !page.messages.length || this.#position >= from) return;
        tries = 0;
      } catch (error) {
        if (++tries === FILL_TRIES_MAX && this.#conn === conn) {
          const { code, message } = error;
          const hole = { after: this.#position, from };
          return this.#emit('error', { code: 'gap_not_filled', message, cause: code, ...hole });
        }
        const ms = Math.max(error.retryAfterMs ?? 0, this.#jitter(tries));
        await new Promise((resolve) => this.#seams.setTimeout(resolve, ms));
      }
      if (this.#conn !== conn) return;
    }
  }

  #refusal({ nonce, content }) {
    if (this.#state.reason !== 'new' && this.#state.state === 'closed') {
      return new HubError('closed', 'the connection is closed');
    }
    if (this.#pending.has(nonce)) return new HubError('nonce_pending', 'this nonce is being sent');
    if (content === '') return new HubError('content_empty', 'the message is empty');
    const waiting = [...this.#pending.values()].filter((item) => item.id === null).length;
    if (waiting < PENDING_MAX) return null;
    return new HubError('too_many_pending', `${PENDING_MAX} messages are waiting for an answer`);
  }

  #transmit(item) {
    const { content_chars_max: chars, message_bytes_max: bytes } = this.#limits;
    if ([...item.content].length > chars) return this.#giveUp(item, 'content_too_long', '');
    if (utf8.encode(item.text).length > bytes) return this.#giveUp(item, 'message_too_big', '');
    item.conn = this.#conn;
    item.sentAt ??= this.#seams.now();
    item.conn.socket.send(item.text);
  }

  #giveUp(item, code, message) {
    this.#pending.delete(item.nonce);
    if (item.id) item.resolve({ id: item.id, level: 'accepted', duplicate: item.duplicate });
    else item.reject(new HubError(code, message));
  }

  #ack(ack) {
    const { nonce, id, level, duplicate } = ack;
    const item = this.#pending.get(nonce);
    if (item) {
      Object.assign(item, { id, duplicate: item.duplicate || duplicate });
      if (level === 'durable' || level === item.ack) {
        this.#pending.delete(nonce);
        item.resolve({ id, level, duplicate: item.duplicate });
      }
      const storing = [...this.#pending.values()].filter((other) => other.id !== null);
      if (storing.length > STORING_MAX) this.#giveUp(storing[0]);
    }
    this.#emit('ack', ack);
  }

  #error(data) {
    const item = this.#pending.get(data.ref);
    if (item) {
      this.#pending.delete(data.ref);
      const more = { retryAfterMs: data.retry_after_ms ?? null, id: data.id ?? null };
      item.reject(new HubError(data.code, data.message, more));
    }
    this.#emit('error', data);
  }

  #lost(conn, code, reason) {
    if (this.#conn !== conn) return;
    this.#conn = null;
    this.#release(conn);
    const { welcomedAt, closing } = conn;
    if (welcomedAt !== null && this.#seams.now() - welcomedAt >= STABLE_MS) this.#attempt = 0;
    if (code === TOO_BIG) this.#dropLargest(conn);
    const ms = retryDelay(code, closing, this.#jitter(++this.#attempt));
    const why = reason || closing?.reason || 'connection_lost';
    if (ms === null) return this.#stop(why, code);
    this.#retryIn(ms, why, code, closing?.retry_after_ms !== undefined || code === 4029);
    if (welcomedAt === null && code === UNREACHABLE) this.#askWhy(this.#wait);
  }

  // One limit holds for all, so if a message was too big, the largest was.
  #dropLargest(conn) {
    const sent = [...this.#pending.values()].filter((item) => item.conn === conn && !item.id);
    const largest = sent.sort((a, b) => b.text.length - a.text.length)[0];
    if (largest) this.#giveUp(largest, 'message_too_big', '');
  }

  // A browser hides why a handshake failed; the same address asked by HTTP answers with the reason.
  async #askWhy(wait) {
    let error = null;
    await request(this.#address('http'), this.#http()).catch((refused) => { error = refused; });
    if (this.#wait !== wait || !error?.status || error.message === UPGRADE_MESSAGE) return;
    if (REFUSALS.has(error.code)) return this.#stop(error.code, error.status);
    const left = wait.retryAt - this.#seams.now();
    const told = error.retryAfterMs !== null;
    this.#retryIn(Math.max(left, error.retryAfterMs ?? 0), error.code, error.status, told);
  }

  #retryIn(ms, reason, code, hinted) {
    this.#endWait();
    const retryAt = this.#seams.now() + ms;
    const timer = this.#seams.setTimeout(() => this.connect(), ms);
    this.#wait = { timer, retryAt, hinted };
    this.#become({ state: 'waiting', reason, code, retryAt, retryInMs: ms });
  }

  #endWait() {
    if (this.#wait) this.#seams.clearTimeout(this.#wait.timer);
    this.#wait = null;
  }

  #stop(reason, code) {
    this.#endWait();
    this.#listen('removeEventListener');
    this.#become({ state: 'closed', reason, code });
    for (const item of [...this.#pending.values()]) this.#giveUp(item, 'closed', reason);
  }

  // The tab is seen again or the network is back: retry now (never before the hub's own hint),
  // or make sure that an open socket is still alive.
  #wake() {
    if (this.#seams.document?.visibilityState === 'hidden') return;
    if (this.#wait && !this.#wait.hinted) this.connect();
    else if (this.#conn?.welcomedAt != null) this.#ping(this.#conn);
  }

  #ping(conn) {
    if (conn.pingedAt !== null) return;
    conn.pingedAt = this.#seams.now();
    conn.heardAt = null;
    conn.socket.send('{"type":"ping"}');
    this.#watch(conn, ANSWER_MS);
  }

  #watch(conn, ms) {
    this.#seams.clearTimeout(conn.timer);
    conn.timer = this.#seams.setTimeout(() => this.#check(conn), ms);
  }

  #check(conn) {
    if (conn.welcomedAt === null || conn.heardAt === null) {
      return this.#lost(conn, UNREACHABLE, 'no_answer');
    }
    conn.pingedAt = null;
    const left = conn.heardAt + this.#limits.ping_period_ms - this.#seams.now();
    if (left > 0) this.#watch(conn, left);
    else this.#ping(conn);
  }

  #release(conn, code) {
    this.#seams.clearTimeout(conn.timer);
    Object.assign(conn.socket, { onopen: null, onmessage: null, onclose: null });
    conn.socket.close(code);
  }

  #jitter(attempt) {
    const ceiling = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** attempt);
    return RETRY_MIN_MS + this.#seams.random() * (ceiling - RETRY_MIN_MS);
  }

  #listen(verb) {
    this.#seams.window[verb]?.('online', this.#nudge);
    this.#seams.document?.[verb]('visibilitychange', this.#nudge);
  }

  #address(scheme) {
    const { spaceId, userId, username } = this.#options;
    const address = new URL(`v1/ws/spaces/${spaceId}`, this.#base);
    address.protocol = address.protocol.replace('http', scheme);
    const query = { user_id: userId, username, after: this.#position, token: this.#token };
    for (const [key, value] of Object.entries(query)) {
      if (value != null && value !== '') address.searchParams.set(key, value);
    }
    return address.href;
  }

  #http() {
    return { url: this.#base, token: this.#token, fetch: this.#seams.fetch };
  }

  #become(state) {
    this.#state = state;
    this.#emit('state', state);
  }

  #emit(type, detail) {
    return this.dispatchEvent(new CustomEvent(type, { detail, cancelable: type === 'gap' }));
  }
}

/** How long to wait after a close, in ms, or null for never: the hub's table of close codes. */
export function retryDelay(code, closing, jitterMs) {
  const hint = closing?.retry_after_ms;
  if (STOPS.has(code) || (closing && hint === undefined && !RETRIES.has(code))) return null;
  if (code === 1012) return hint ?? jitterMs;
  return Math.max(hint ?? 0, code === 4029 ? TOO_FAST_MS : jitterMs);
}

// A lone surrogate can't be UTF-8; the hub would refuse the whole frame without a `ref`.
function encode(content, { ack, image, nonce }) {
  const data = { content: content.replace(/\p{Surrogate}/gu, '\ufffd'), nonce };
  if (ack !== 'accepted') data.ack = ack;
  if (image) data.image = image;
  return JSON.stringify({ type: 'chat', data });
}

function baseOf(url) {
  const base = new URL(url, globalThis.location?.href).href.replace(/^ws/, 'http');
  return base.endsWith('/') ? base : `${base}/`;
}

async function request(address, { token, fetch = globalThis.fetch }) {
  const headers = { Accept: 'application/json' };
  if (token) headers.Authorization = `Bearer ${token}`;
  const response = await fetch(address, { headers, cache: 'no-store' }).catch((error) => {
    throw new HubError('unreachable', error.message);
  });
  const body = await response.json().catch(() => null);
  if (response.ok && body) return body;
  const seconds = Number(response.headers.get('Retry-After'));
  throw new HubError(body?.code ?? `http_${response.status}`, body?.message, {
    retryAfterMs: body?.retry_after_ms ?? (seconds ? seconds * 1000 : null),
    status: response.status,
  });
}
