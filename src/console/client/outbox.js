// What is on its way to the hub: each message once, in the order of `send`, whatever the connection
// does. Short ones go over the socket, longer ones by POST with their nonce as the key.
import { HubError } from './http.js';
import { jitter } from './seams.js';

/** Sends without any answer yet; one more is refused with `too_many_pending`. */
export const PENDING_MAX = 32;
/** Accepted sends waiting for `durable`; over it the oldest resolves with level `accepted`. */
export const STORING_MAX = 32;
/** A resend is safe within the hub's publish-once window (2 min); the rest is for the way there. */
export const RESEND_WINDOW_MS = 110_000;

const AGAIN = { min: 500, max: 10_000 };
const UNKNOWN = ['unknown_outcome', 'no answer within the publish-once window'];
const TOO_BIG = 1009;
const ENDING = 'draining';
const utf8 = new TextEncoder();

export class Outbox {
  #seams; #link; #means;
  #items = new Map();
  #limits = null;

  /**
   * @param {object} seams
   * @param {object} link the connection
   * @param {object} means `post()` gives {ask, author}: what sends a post, and who that is by;
   *   told are `ack(data)` and `error(data)`, in the form of the hub's frames
   */
  constructor(seams, link, means) {
    this.#seams = seams;
    this.#link = link;
    this.#means = means;
  }

  send(content, { ack, image, nonce }) {
    return new Promise((resolve, reject) => {
      if (content === '') return reject(new HubError('content_empty', 'the message is empty'));
      if (this.#items.has(nonce)) {
        return reject(new HubError('nonce_pending', 'this nonce is being sent'));
      }
      if (this.#unanswered().length >= PENDING_MAX) {
        const words = `${PENDING_MAX} messages are waiting for an answer`;
        return reject(new HubError('too_many_pending', words));
      }
      const text = encode(content, { ack, image, nonce });
      const bytes = utf8.encode(text).length;
      const item = { nonce, ack, content: sound(content), image, text, bytes, resolve, reject };
      Object.assign(item, { id: null, duplicate: false, sentAt: null, conn: null });
      Object.assign(item, { posted: false, posting: false });
      this.#items.set(nonce, item);
      this.#flush();
    });
  }

  /** The hub has said what it takes: what is unanswered goes out (again). */
  welcomed(limits) {
    this.#limits = limits;
    const now = this.#seams.elapsed();
    for (const item of [...this.#items.values()]) {
      const age = item.sentAt === null ? 0 : now - item.sentAt;
      if (age >= RESEND_WINDOW_MS) this.#giveUp(item, ...UNKNOWN);
    }
    this.#flush();
  }

  acked({ nonce, id, level, duplicate }) {
    const item = this.#items.get(nonce);
    if (!item) return;
    Object.assign(item, { id, duplicate: item.duplicate || Boolean(duplicate) });
    if (level === 'durable' || level === item.ack) this.#settle(item, level);
    const storing = [...this.#items.values()].filter((other) => other.id !== null);
    if (storing.length > STORING_MAX) this.#settle(storing[0], 'accepted');
    this.#answered();
  }

  /**
   * The hub does not take a message.
   * @returns {boolean} whether that is no end of it: a hub that ends has a next one, which is told
   */
  keeps({ ref, code, message, retry_after_ms = null, id = null }) {
    const item = this.#items.get(ref);
    if (!item) return false;
    if (code === ENDING) return true;
    this.#items.delete(ref);
    item.reject(new HubError(code, message, { retryAfterMs: retry_after_ms, id }));
    this.#answered();
    return false;
  }

  // One limit holds for all, so if a message was too big for the socket, the largest was.
  lost(conn, code) {
    if (code !== TOO_BIG) return;
    const sent = this.#unanswered().filter((item) => item.conn === conn && !item.posted);
    const largest = sent.sort((a, b) => b.bytes - a.bytes)[0];
    if (largest) largest.posted = true;
  }

  /** Nothing more will be sent: what is unanswered is rejected with `closed`. */
  stopped(reason) {
    for (const item of [...this.#items.values()]) this.#giveUp(item, 'closed', reason);
  }

  // A post waits until all before it is answered, and all behind it until it is: one way must not
  // overtake the other.
  #flush() {
    const conn = this.#link.open;
    if (!conn || !this.#limits) return;
    let waiting = false;
    for (const item of [...this.#items.values()]) {
      if ([...item.content].length > this.#limits.content_chars_max) {
        this.#giveUp(item, 'content_too_long', '');
        continue;
      }
      item.posted ||= item.bytes > this.#limits.message_bytes_max;
      if (item.posted && item.id === null) {
        if (!waiting) this.#post(item);
        return;
      }
      if (item.posted) this.#post(item);
      else if (item.conn !== conn) this.#transmit(item, conn);
      waiting ||= item.id === null;
    }
  }

  #transmit(item, conn) {
    item.conn = conn;
    item.sentAt ??= this.#seams.elapsed();
    this.#link.ask(item.text);
  }

  // The first post asks not to wait for the store, so that what is behind it goes on; those after
  // it, with the same key, wait for the store alone.
  async #post(item) {
    if (item.posting) return;
    item.posting = true;
    item.sentAt ??= this.#seams.elapsed();
    for (let tries = 1; this.#holds(item); tries++) {
      const known = item.id !== null;
      const answer = await this.#ask(item).catch((error) => error);
      if (!this.#holds(item)) return;
      if (!(answer instanceof HubError)) this.#posted(item, answer);
      else if (isRefusal(answer, known)) this.#means.error(frameOf(item, answer));
      if (!this.#holds(item)) return;
      if (!known && item.id !== null) continue;
      const spread = jitter(this.#seams.random, tries, AGAIN);
      await this.#pause(Math.max(answer.retryAfterMs ?? 0, spread));
      const late = this.#seams.elapsed() - item.sentAt >= RESEND_WINDOW_MS;
      if (late && this.#holds(item)) this.#giveUp(item, ...UNKNOWN);
    }
    this.#flush();
  }

  #ask({ nonce, id, content, image }) {
    const { ask, author } = this.#means.post();
    const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': nonce };
    if (id === null) headers.Prefer = 'respond-async';
    const body = JSON.stringify({ ...author, message: content, image });
    return ask({ method: 'POST', headers, body, has: 'chat_message' });
  }

  #posted(item, { status, body, headers }) {
    const { nonce } = item;
    const duplicate = item.id === null ? headers.get('Idempotency-Replayed') === 'true' : false;
    const level = status === 200 ? 'durable' : 'accepted';
    const ack = { nonce, id: body.chat_message.id, duplicate: duplicate || item.duplicate };
    if (item.id === null) this.#means.ack({ ...ack, level: 'accepted' });
    if (level === 'durable' && this.#holds(item)) this.#means.ack({ ...ack, level });
  }

  #holds(item) { return this.#items.get(item.nonce) === item; }

  #unanswered() {
    return [...this.#items.values()].filter((item) => item.id === null);
  }

  #answered() {
    const conn = this.#link.open;
    this.#link.answered(this.#unanswered().some((item) => item.conn === conn && !item.posted));
    this.#flush();
  }

  #settle(item, level) {
    this.#items.delete(item.nonce);
    item.resolve({ id: item.id, level, duplicate: item.duplicate });
  }

  #giveUp(item, code, message) {
    if (item.id) return this.#settle(item, 'accepted');
    this.#items.delete(item.nonce);
    item.reject(new HubError(code, message));
  }

  #pause(ms) {
    return new Promise((resolve) => { this.#seams.setTimeout(resolve, ms); });
  }
}

// What the hub itself says of the message; a proxy's failure leaves open whether it arrived, and
// what was accepted can be refused by its store only.
function isRefusal({ code, status }, accepted) {
  if (!status || code === ENDING || code.startsWith('http_5')) return false;
  return !accepted || status === 422;
}

function frameOf({ nonce, id }, { code, message, retryAfterMs }) {
  const data = { code, message, ref: nonce };
  if (id !== null) data.id = id;
  return retryAfterMs === null ? data : { ...data, retry_after_ms: retryAfterMs };
}

// A lone surrogate can't be UTF-8; the hub would refuse the whole frame without a `ref`.
function sound(content) {
  return content.replace(/\p{Surrogate}/gu, '\ufffd');
}

/** The frame of a message, as it leaves. */
export function encode(content, { ack, image, nonce }) {
  const data = { content: sound(content), nonce };
  if (ack !== 'accepted') data.ack = ack;
  if (image) data.image = image;
  return JSON.stringify({ type: 'chat', data });
}
