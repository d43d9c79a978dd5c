// A world with one client in it: its sockets, HTTP, clocks and randomness are the test's own.
import assert from 'node:assert/strict';
import { HubClient } from '../../src/console/client.js';

/** A hub's way to write a time. */
export const timeAt = (ms) => new Date(ms - 3 * 3600e3).toISOString().replace('Z', '000-03:00');
export const idOf = (n) => `01K${String(n).padStart(23, '0')}`;
export const messageOf = (n) => ({
  id: idOf(n), content: `m${n}`, user_id: 1, username: 'Ana', space_id: 1, timestamp: timeAt(n),
  image: '',
});
export const settled = async (turns = 20) => { for (let i = 0; i < turns; i++) await null; };

/** A world with one client in it; nothing happens unless the test makes it happen. */
export class World {
  /** The wall clock, the clock that timers go by, and the hub's; they differ when told to. */
  now = Date.parse('2026-01-02T06:04:05Z');
  ticks = 1_000_000;
  hubAhead = 5_000;
  timers = new Map();
  sockets = [];
  asked = [];
  events = [];
  window = new EventTarget();
  document = Object.assign(new EventTarget(), { visibilityState: 'visible' });
  answer = () => { throw new TypeError('no network'); };
  random = () => 0.5;

  constructor(options = {}) {
    const world = this;
    class FakeWebSocket {
      sent = [];
      constructor(url, protocols) {
        Object.assign(this, { url: new URL(url), protocols });
        world.sockets.push(this);
      }
      send(text) { this.sent.push(JSON.parse(text)); }
      close(code) { this.closedWith = code ?? 'none'; }
    }
    this.client = new HubClient(
      { url: 'https://hub.example/', spaceId: 1, userId: 7, username: 'Ana Ñ', ...options },
      {
        WebSocket: FakeWebSocket,
        fetch: async (address, init) => {
          this.asked.push({ address: new URL(address), ...init });
          return this.answer(new URL(address), init);
        },
        now: () => this.now,
        monotonic: () => this.ticks,
        random: () => this.random(),
        setTimeout: (run, ms) => {
          const key = Symbol(ms);
          this.timers.set(key, { run, at: this.ticks + ms });
          return key;
        },
        clearTimeout: (key) => this.timers.delete(key),
        window: this.window,
        document: this.document,
      },
    );
    const types = ['open', 'welcome', 'join', 'leave', 'chat', 'presence', 'resumed', 'gap',
      'closing', 'error', 'state', 'ack', 'people'];
    for (const type of types) {
      this.client.addEventListener(type, ({ detail }) => this.events.push({ type, ...detail }));
    }
    this.client.connect();
  }

  get socket() { return this.sockets.at(-1); }
  get state() { return this.client.state; }
  /** The token that the last connection was begun with. */
  get shownToken() { return [this.socket.protocols].flat()[1]?.replace('token.', ''); }
  get shown() { return this.of('chat').map(({ content }) => content); }
  of(type) { return this.events.filter((event) => event.type === type); }

  get hubTime() { return timeAt(this.now + this.hubAhead); }
  frame(type, data, outer = {}) {
    const at = { timestamp: this.hubTime };
    this.socket.onmessage?.({ data: JSON.stringify({ type, data, ...at, ...outer }) });
  }
  chat(...numbers) { for (const n of numbers) this.frame('chat', messageOf(n)); }
  welcome(n = 0, more = {}) {
    this.socket.onopen?.();
    this.frame('welcome', {
      connection_id: '1-1-1', space_id: 1, user_id: 7, username: 'Ana Ñ', position: idOf(n),
      members: 1, message_bytes_max: 512, content_chars_max: 1000, ping_period_ms: 54_000, ...more,
    });
  }
  resumed(from, to, more = {}) {
    this.frame('resumed', { from: idOf(from), to: idOf(to), count: 0, complete: true, ...more });
  }
  ack(sent, n, level = 'accepted', duplicate = false) {
    this.frame('ack', { nonce: sent.data.nonce, id: idOf(n), level, duplicate });
  }
  /** Somebody comes or goes; the hub says when. */
  presence(type, userId, timestamp = this.hubTime, username = `User${userId}`) {
    const data = { space_id: 1, user_id: userId, username: '' };
    const name = type === 'join' ? { username } : {};
    this.frame(type, data, { timestamp, user_id: userId, space_id: 1, ...name });
  }
  drop(code = 1006, reason = '') { this.socket.onclose?.({ code, reason }); }

  /** Lets `ms` pass, running timers in the order of their time. */
  async pass(ms) {
    const end = this.ticks + ms;
    await settled();
    for (;;) {
      const due = [...this.timers].filter(([, { at }]) => at <= end);
      due.sort(([, a], [, b]) => a.at - b.at);
      if (!due.length) break;
      const [key, { run, at }] = due[0];
      this.timers.delete(key);
      this.#go(at - this.ticks);
      run();
      await settled();
    }
    this.#go(end - this.ticks);
    await settled();
  }
  #go(ms) {
    this.ticks += ms;
    this.now += ms;
  }
  /** The machine sleeps: its clock goes on, its timers don't. */
  sleep(ms) { this.now += ms; }
  async reconnect() {
    const before = this.sockets.length;
    await this.pass(this.state.retryInMs);
    assert.equal(this.sockets.length, before + 1, 'it reconnects');
  }
}

export const json = (body, { status = 200, ...headers } = {}) => new Response(
  JSON.stringify(body), { status, headers });
export const pagesOf = (messages) => (address) => {
  const after = address.searchParams.get('after');
  const limit = Number(address.searchParams.get('limit'));
  const range = messages.filter(({ id }) => id > after);
  return json({ data: range.slice(0, limit), has_more: range.length > limit });
};
export const refused = (promise, code) => assert.rejects(promise, (error) => error.code === code);
