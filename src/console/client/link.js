// The connection: one socket at a time, opened again after a loss, and probed where it may be dead.
// It knows nothing of messages; what arrives is handed on.
import { jitter } from './seams.js';

export const SUBPROTOCOL = 'cpi-hub.v1';

const RETRY = { min: 500, max: 20_000 };
const TOO_FAST_MS = 10_000;
const STABLE_MS = 10_000;
const WELCOME_MS = 15_000;
/** After a `ping_period` of silence: nobody is waiting. */
const ANSWER_MS = 10_000;
/** Somebody is: a send without an answer for that long is a reason to ask, and then to give up. */
const SEND_ANSWER_MS = 5_000;
const PROBE_MS = 5_000;
/** The browser says that there is no network; only a hub on this very machine would answer. */
const OFFLINE_PROBE_MS = 2_000;
/** A handshake that began before the machine slept won't end well. */
const STALE_ATTEMPT_MS = 3_000;
/** Rounds of a probe in which others were heard but no answer to it: the way there may be dead. */
const PROBE_ROUNDS_MAX = 3;
const ERROR_GRACE_MS = 1_000;
/** The hub said that it closes; where that gets lost on its way, it is taken for done. */
const CLOSE_WAIT_MS = 10_000;
const UNREACHABLE = 1006;
const UNAUTHORIZED = 4001;
const AWAY = 'page_hidden';
const PING = '{"type":"ping"}';
const STOPS = new Set([1002, 1007, 1008, 4001, 4003, 4009]);
const RETRIES = new Set([1009, 1011, 1012, 1013, 4008, 4029]);
const REFUSALS = new Set(['unauthorized', 'forbidden', 'invalid_parameter']);
const EVENTS = {
  window: ['online', 'offline', 'pagehide', 'pageshow'],
  document: ['visibilitychange', 'resume'],
};

export class Link {
  #seams; #hooks; #react;
  #state = { state: 'closed', reason: 'new' };
  #conn = null;
  /** The question for a token that comes before a connection. */
  #asking = null;
  #wait = null;
  #attempt = 0;
  #pingPeriod = ANSWER_MS;

  /**
   * @param {object} seams the surroundings
   * @param {object} hooks `address()` of the socket and its `protocols()`; `renewal()` gives a
   *   promise where a token is to be asked for before that, else null; `renews()` whether it ever
   *   would; `explain(attempt)` asks over HTTP why that handshake failed: a HubError or null; told
   *   are `became(state)`, `handshaken()`, `heard(conn, frame)`, `untold(error)` of a token,
   *   `lost(conn, code)` and `stopped(reason)`, before the state says so
   */
  constructor(seams, hooks) {
    this.#seams = seams;
    this.#hooks = hooks;
    this.#react = (event) => this.#reacts(event);
  }

  get state() { return this.#state; }
  /** The present connection, from its attempt on, or null. */
  get conn() { return this.#conn; }
  /** The present connection if the hub has welcomed it, or null. */
  get open() { return this.#conn?.welcomedAt == null ? null : this.#conn; }

  /** Connects, or retries at once when waiting. */
  connect() {
    if (this.#conn || this.#asking) return;
    if (!this.#seams.WebSocket) {
      throw new TypeError('there is no WebSocket here: pass one as an option');
    }
    const renewal = this.#hooks.renewal();
    if (!renewal) return this.#begin();
    const asking = {};
    this.#asking = asking;
    this.#endWait();
    this.#listen('addEventListener');
    this.#become({ state: 'connecting', reason: this.#state.reason });
    renewal.then(() => this.#told(asking), (error) => this.#told(asking, error));
  }

  // The token for the next connection is there, or can't be had: that is tried again.
  #told(asking, error = null) {
    if (this.#asking !== asking) return;
    this.#asking = null;
    if (!error) return this.#begin();
    const ms = jitter(this.#seams.random, ++this.#attempt, RETRY);
    this.#hooks.untold(error);
    // A listener may have left.
    if (this.#state.state !== 'connecting' || this.#conn || this.#asking) return;
    this.#retryIn(ms, { reason: error.code, code: UNREACHABLE }, 0);
  }

  #begin() {
    const { WebSocket } = this.#seams;
    const socket = new WebSocket(this.#hooks.address(), this.#hooks.protocols());
    this.#endWait();
    this.#listen('addEventListener');
    const conn = {
      socket, startedAt: this.#seams.elapsed(), welcomedAt: null, heardAt: 0, closing: null,
      unansweredAt: null, probe: null, pings: 0, pongs: 0, barriers: [], timer: null, hubTime: 0,
    };
    this.#conn = conn;
    socket.onopen = () => this.#hooks.handshaken();
    socket.onmessage = ({ data }) => this.#receive(conn, data);
    socket.onclose = ({ code, reason }) => this.lost(conn, code, reason);
    socket.onerror = () => this.#failed(conn);
    this.#watch(conn, WELCOME_MS);
    if (this.#state.state === 'connecting') return;
    this.#become({ state: 'connecting', reason: this.#state.reason });
  }

  /** Leaves for good. */
  close() {
    this.#hangUp();
    if (this.#state.state !== 'closed') this.#stop('left', 1000);
  }

  /** The hub has welcomed the connection, and says how often it pings. */
  welcomed(conn, pingPeriodMs, hubTime) {
    conn.welcomedAt = this.#seams.elapsed();
    conn.hubTime = hubTime;
    this.#pingPeriod = pingPeriodMs;
    this.#watch(conn, pingPeriodMs);
  }

  /** Tells that messages flow; what waited for it was sent before. */
  opened() {
    this.#become({ state: 'open', reason: 'welcome' });
  }

  /** Sends a text that the hub answers; where no answer comes, the connection is probed. */
  ask(text) {
    const conn = this.#conn;
    conn.socket.send(text);
    if (conn.unansweredAt !== null) return;
    conn.unansweredAt = this.#seams.elapsed();
    if (!conn.probe) this.#check(conn);
  }

  /** The hub has answered something; `more` answers are still to come. */
  answered(more) {
    if (this.#conn) this.#conn.unansweredAt = more ? this.#seams.elapsed() : null;
  }

  /** Resolves when all that the hub has said by now is here, or when that can't be known. */
  barrier() {
    const conn = this.open;
    if (!conn) return Promise.resolve();
    return new Promise((resolve) => {
      this.#ping(conn);
      const timer = this.#seams.setTimeout(resolve, ANSWER_MS);
      const passed = () => {
        this.#seams.clearTimeout(timer);
        resolve();
      };
      conn.barriers.push({ ping: conn.pings, passed });
    });
  }

  /** The connection is gone, or given up. */
  lost(conn, code, reason = '') {
    if (this.#conn !== conn) return;
    this.#drop();
    const { welcomedAt, closing } = conn;
    const now = this.#seams.elapsed();
    if (welcomedAt !== null && now - welcomedAt >= STABLE_MS) this.#attempt = 0;
    this.#hooks.lost(conn, code);
    const hint = closing?.data.retry_after_ms;
    const spread = jitter(this.#seams.random, ++this.#attempt, RETRY);
    // Whoever is asked for tokens may have a new one; a hub that takes none at all says so.
    const again = code === UNAUTHORIZED && welcomedAt !== null && this.#hooks.renews();
    const ms = again ? spread : retryDelay(code, closing?.data, spread);
    const why = reason || closing?.data.reason || 'connection_lost';
    if (ms === null) return this.#stop(why, code);
    const hinted = hint !== undefined || code === 4029;
    this.#retryIn(ms, { reason: why, code }, hinted ? this.#herdUntil(conn, why, ms) : 0);
    if (welcomedAt === null && code === UNREACHABLE) this.#askWhy(this.#wait);
  }

  // Until when a hint holds that keeps many from coming back at once. The hub's own times tell how
  // long ago it was given: a machine that slept reads it late. Silence is no herd's reason.
  #herdUntil({ welcomedAt, closing, hubTime }, reason, ms) {
    const now = this.#seams.elapsed();
    if (reason === 'pong_timeout') return now;
    const after = closing ? closing.hubTime - hubTime : NaN;
    const saidAt = welcomedAt === null || !(after >= 0) ? now : Math.min(now, welcomedAt + after);
    return saidAt + ms;
  }

  #receive(conn, text) {
    if (this.#conn !== conn) return;
    conn.heardAt = this.#seams.elapsed();
    if (conn.probe) conn.probe.heard = true;
    let frame;
    try { frame = JSON.parse(text); } catch { return; }
    if (typeof frame?.type !== 'string') return;
    if (frame.type === 'pong') conn.pongs += 1;
    if (['pong', 'ack', 'error'].includes(frame.type)) conn.probe = null;
    if (frame.type === 'closing') {
      const until = conn.heardAt + CLOSE_WAIT_MS;
      conn.closing = { data: frame.data ?? {}, hubTime: Date.parse(frame.timestamp), until };
      this.#watch(conn, CLOSE_WAIT_MS);
    }
    this.#hooks.heard(conn, frame);
    while (conn.barriers[0]?.ping <= conn.pongs) conn.barriers.shift().passed();
  }

  // Some tell of a failed attempt by this alone; after a handshake the close says more.
  #failed(conn) {
    if (this.#conn !== conn) return;
    if (conn.welcomedAt === null) this.lost(conn, UNREACHABLE);
    else this.#seams.setTimeout(() => this.lost(conn, UNREACHABLE), ERROR_GRACE_MS);
  }

  // A browser hides why a handshake failed; the same address asked by HTTP answers with the reason.
  async #askWhy(wait) {
    const error = await this.#hooks.explain(this.#attempt);
    if (!error || !wait || this.#wait !== wait) return;
    if (REFUSALS.has(error.code)) return this.#stop(error.code, error.status);
    const now = this.#seams.elapsed();
    const hint = error.retryAfterMs;
    const ms = Math.max(wait.until - now, hint ?? 0);
    const state = { reason: error.code, code: error.status ?? UNREACHABLE };
    this.#retryIn(ms, state, hint === null ? 0 : now + hint);
  }

  #retryIn(ms, state, herdUntil) {
    this.#endWait();
    const timer = this.#seams.setTimeout(() => this.connect(), ms);
    this.#wait = { timer, until: this.#seams.elapsed() + ms, herdUntil };
    const retryAt = this.#seams.now() + ms;
    this.#become({ state: 'waiting', ...state, retryAt, retryInMs: ms });
  }

  #endWait() {
    if (this.#wait) this.#seams.clearTimeout(this.#wait.timer);
    this.#wait = null;
  }

  #stop(reason, code) {
    this.#endWait();
    this.#listen('removeEventListener');
    // First what was of this connection: a listener of the state may begin the next one.
    this.#hooks.stopped(reason);
    this.#become({ state: 'closed', reason, code });
  }

  #reacts({ type }) {
    if (type === 'offline') return this.#probe(OFFLINE_PROBE_MS);
    if (type === 'pagehide') return this.#goAway();
    if (this.#seams.document?.visibilityState === 'hidden' && type !== 'pageshow') return;
    this.#wake();
  }

  // A page that the browser keeps for the way back must not stay in the space meanwhile.
  #goAway() {
    if (!this.#conn && !this.#wait && !this.#asking) return;
    this.#hangUp();
    this.#endWait();
    this.#wait = { timer: null, until: Infinity, herdUntil: 0 };
    this.#become({ state: 'waiting', reason: AWAY, code: 1000, retryAt: null, retryInMs: null });
  }

  // The page is seen again or the network is back: retry now, but never into a herd; or make sure
  // that what seems open is alive.
  #wake() {
    const now = this.#seams.elapsed();
    const conn = this.#conn;
    if (conn && conn.welcomedAt === null && now - conn.startedAt >= STALE_ATTEMPT_MS) {
      this.lost(conn, UNREACHABLE, 'no_answer');
    }
    if (this.#wait && now >= this.#wait.herdUntil) this.connect();
    else this.#probe(PROBE_MS);
  }

  #probe(ms) {
    const conn = this.open;
    if (!conn) return;
    const now = this.#seams.elapsed();
    if (conn.probe && conn.probe.until <= now + ms) return;
    if (!conn.probe) this.#ping(conn);
    conn.probe = { ms, until: now + ms, heard: false, rounds: 0 };
    this.#watch(conn, ms);
  }

  #ping(conn) {
    conn.pings += 1;
    conn.socket.send(PING);
  }

  #watch(conn, ms) {
    this.#seams.clearTimeout(conn.timer);
    conn.timer = this.#seams.setTimeout(() => this.#check(conn), ms);
  }

  #check(conn) {
    const { welcomedAt, heardAt, unansweredAt, probe, closing } = conn;
    if (welcomedAt === null) return this.lost(conn, UNREACHABLE, 'no_answer');
    const now = this.#seams.elapsed();
    if (closing) {
      if (now < closing.until) return this.#watch(conn, closing.until - now);
      return this.lost(conn, closing.data.code ?? UNREACHABLE);
    }
    if (probe) {
      if (!probe.heard || ++probe.rounds >= PROBE_ROUNDS_MAX) {
        return this.lost(conn, UNREACHABLE, 'no_answer');
      }
      Object.assign(probe, { heard: false, until: now + probe.ms });
      return this.#watch(conn, probe.ms);
    }
    const silence = heardAt + this.#pingPeriod - now;
    const answer = unansweredAt === null ? Infinity : unansweredAt + SEND_ANSWER_MS - now;
    if (answer <= 0) this.#probe(PROBE_MS);
    else if (silence <= 0) this.#probe(ANSWER_MS);
    else this.#watch(conn, Math.min(silence, answer, this.#pingPeriod));
  }

  #hangUp() {
    const conn = this.#conn;
    this.#asking = null;
    this.#drop(1000);
    if (conn) this.#hooks.lost(conn, 1000);
  }

  #drop(code) {
    const conn = this.#conn;
    this.#conn = null;
    if (!conn) return;
    this.#seams.clearTimeout(conn.timer);
    // Some sockets throw an error that nobody listens to.
    const { socket } = conn;
    Object.assign(socket, { onopen: null, onmessage: null, onclose: null, onerror: () => {} });
    socket.close(code);
    for (const { passed } of conn.barriers.splice(0)) passed();
  }

  #listen(verb) {
    for (const [where, types] of Object.entries(EVENTS)) {
      for (const type of types) this.#seams[where]?.[verb]?.(type, this.#react);
    }
  }

  #become(state) {
    this.#state = state;
    this.#hooks.became(state);
  }
}

/** How long to wait after a close, in ms, or null for never: the hub's table of close codes. */
export function retryDelay(code, closing, jitterMs) {
  const hint = closing?.retry_after_ms;
  if (STOPS.has(code) || (closing && hint === undefined && !RETRIES.has(code))) return null;
  if (code === 1012) return hint ?? jitterMs;
  return Math.max(hint ?? 0, code === 4029 ? TOO_FAST_MS : jitterMs);
}
