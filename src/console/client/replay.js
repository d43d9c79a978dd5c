// What arrives, in order and once: the position, what is held back until a replay is whole, and the
// joins and leaves that a replay brings again.
import { HTTP_WAIT_MS, HubError } from './http.js';
import { jitter } from './seams.js';

/** Frames held while missed messages are fetched; over it the client reconnects and goes on. */
export const HELD_MAX = 20_000;

/** More joins and leaves than a hub's memory holds without a chat between them. */
const TOLD_MAX = 10_000;
const FILL_LIMIT = 100;
const FILL_TRIES_MAX = 5;
/** Live messages wait behind a fill, so it ends: a hole that is told beats a silent room. */
const FILL_WAIT_MS = 60_000;
const AGAIN = { min: 500, max: 20_000 };

export class Replay {
  #seams; #means; #position;
  #held = null;
  /** How many of the held frames came before `resumed`. */
  #replayed = 0;
  /** Whether the client's own join was ever told, and whether this connection's is awaited. */
  #entered = false;
  #entering = false;
  /** When that was, until a chat was told: what is older may be replayed up to then. */
  #enteredAt = '';
  /** Joins and leaves told since the last chat, where a replay would begin: how often each. */
  #told = new Map();

  /**
   * @param {object} seams
   * @param {?string} position
   * @param {object} means `history(range)` of the space; `isCurrent(conn)`; told are `chat`, `join`
   *   (with whether it is this client's own), `leave`, `presence`, `resumed`, `unfilled`; `gap` is
   *   asked whether the hole shall be read
   */
  constructor(seams, position, means) {
    this.#seams = seams;
    this.#position = position;
    this.#means = means;
  }

  get position() { return this.#position; }

  /** A connection begins; where it had a position to ask for, it brings what was missed. */
  welcomed(position) {
    this.#held = this.#position === null ? null : [];
    this.#replayed = 0;
    this.#entering = true;
    this.#position ??= position;
  }

  /** @returns {boolean} false if more is held than there is room for */
  take(frame) {
    if (!this.#held) this.#tell(frame);
    else if (this.#held.push(frame) > HELD_MAX) return false;
    return true;
  }

  /** The replay is whole, or says what it lacks; resolves when all of it has been told. */
  async resumed(conn, data) {
    this.#replayed = this.#held?.length ?? 0;
    if (!data.complete) {
      const { from, reason } = data;
      const wanted = this.#means.gap({ after: this.#position, from, reason });
      if (reason === 'ahead') this.#position = data.to;
      else if (wanted) await this.#fill(conn, from);
    }
    const held = this.#held ?? [];
    const known = this.#knownUntil(held.slice(0, this.#replayed));
    for (let i = 0; i < held.length; i++) {
      if (!this.#means.isCurrent(conn)) return;
      if (i >= known || held[i].type === 'chat') this.#tell(held[i]);
    }
    if (!this.#means.isCurrent(conn)) return;
    this.#held = null;
    if (data.to > this.#position) this.#position = data.to;
    this.#means.resumed(data);
  }

  // A replay begins at the last chat, so it repeats the joins and leaves since; before the client's
  // own first join none is its business. The log has one order: what is known is at the start.
  #knownUntil(replay) {
    if (!this.#entered) return replay.length;
    const told = new Map(this.#told);
    let known = 0;
    replay.forEach((frame, i) => {
      if (frame.type === 'chat') return;
      const times = told.get(keyOf(frame)) ?? 0;
      told.set(keyOf(frame), times - 1);
      if (times > 0 || frame.timestamp < this.#enteredAt) known = i + 1;
    });
    return known;
  }

  #tell(frame) {
    const { type, data, user_id, username = '', space_id, timestamp } = frame;
    if (type === 'chat') return this.#chat(data, false);
    if (type === 'presence') return this.#means.presence(data);
    this.#note(keyOf(frame));
    const who = { user_id, username, space_id, timestamp };
    if (type === 'leave') return this.#means.leave(who);
    const own = this.#entering && this.#means.isOwn(user_id);
    if (own && !this.#entered) this.#enteredAt = timestamp;
    if (own) [this.#entered, this.#entering] = [true, false];
    return this.#means.join(who, own);
  }

  #note(key) {
    this.#told.set(key, (this.#told.get(key) ?? 0) + 1);
    if (this.#told.size > TOLD_MAX) this.#told.delete(this.#told.keys().next().value);
  }

  #chat(message, history) {
    if (message.id <= this.#position) return;
    this.#position = message.id;
    this.#told.clear();
    this.#enteredAt = '';
    this.#means.chat({ ...message, history });
  }

  // Reads by `after` alone: the hole includes `from`, which `before=from` would leave out.
  async #fill(conn, from) {
    const began = this.#seams.elapsed();
    const left = () => FILL_WAIT_MS - (this.#seams.elapsed() - began);
    for (let tries = 0; this.#means.isCurrent(conn);) {
      try {
        const waitMs = Math.max(1, Math.min(HTTP_WAIT_MS, left()));
        const range = { after: this.#position, limit: FILL_LIMIT };
        const page = await this.#means.history(range, waitMs);
        for (const message of page.messages) {
          if (!this.#means.isCurrent(conn) || message.id > from) return;
          this.#chat(message, true);
        }
        if (!page.hasMore || !page.messages.length || this.#position >= from) return;
        if (left() <= 0) return this.#unfilled(conn, from, new HubError('too_many'));
        tries = 0;
      } catch (error) {
        const ms = Math.max(error.retryAfterMs ?? 0, jitter(this.#seams.random, ++tries, AGAIN));
        if (tries === FILL_TRIES_MAX || ms >= left()) return this.#unfilled(conn, from, error);
        await new Promise((resolve) => { this.#seams.setTimeout(resolve, ms); });
      }
    }
  }

  #unfilled(conn, from, { code: cause, message }) {
    if (!this.#means.isCurrent(conn)) return;
    const hole = { after: this.#position, from };
    this.#means.unfilled({ ...hole, code: 'gap_not_filled', message, cause });
  }
}

function keyOf({ type, user_id, timestamp, username }) {
  return `${type} ${user_id} ${timestamp} ${username}`;
}
