// client.js against a scripted hub: sockets, HTTP, clock and randomness are the test's own.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  HELD_MAX, HubClient, PENDING_MAX, RESEND_WINDOW_MS, STORING_MAX, SUBPROTOCOL, retryDelay,
} from '../../src/console/client.js';

const T = '2026-01-02T03:04:05.678901-03:00';
const idOf = (n) => `01K${String(n).padStart(23, '0')}`;
const messageOf = (n) => ({
  id: idOf(n), content: `m${n}`, user_id: 1, username: 'Ana', space_id: 1, timestamp: T, image: '',
});
const settled = async (turns = 20) => { for (let i = 0; i < turns; i++) await null; };

/** A world with one client in it; nothing happens unless the test makes it happen. */
class World {
  now = 1_000_000;
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
          return this.answer(new URL(address));
        },
        now: () => this.now,
        random: () => this.random(),
        setTimeout: (run, ms) => {
          const key = Symbol(ms);
          this.timers.set(key, { run, at: this.now + ms });
          return key;
        },
        clearTimeout: (key) => this.timers.delete(key),
        window: this.window,
        document: this.document,
      },
    );
    const types = ['open', 'welcome', 'join', 'leave', 'chat', 'presence', 'resumed', 'gap',
      'closing', 'error', 'state', 'ack'];
    for (const type of types) {
      this.client.addEventListener(type, ({ detail }) => this.events.push({ type, ...detail }));
    }
    this.client.connect();
  }

  get socket() { return this.sockets.at(-1); }
  get state() { return this.client.state; }
  get shown() { return this.of('chat').map(({ content }) => content); }
  of(type) { return this.events.filter((event) => event.type === type); }

  frame(type, data, outer = {}) {
    this.socket.onmessage?.({ data: JSON.stringify({ type, data, timestamp: T, ...outer }) });
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
  drop(code = 1006, reason = '') { this.socket.onclose?.({ code, reason }); }

  /** Lets `ms` pass, running timers in the order of their time. */
  async pass(ms) {
    const end = this.now + ms;
    await settled();
    for (;;) {
      const due = [...this.timers].filter(([, { at }]) => at <= end);
      due.sort(([, a], [, b]) => a.at - b.at);
      if (!due.length) break;
      const [key, { run, at }] = due[0];
      this.timers.delete(key);
      this.now = at;
      run();
      await settled();
    }
    this.now = end;
    await settled();
  }
  async reconnect() {
    const before = this.sockets.length;
    await this.pass(this.state.retryInMs);
    assert.equal(this.sockets.length, before + 1, 'it reconnects');
  }
}

const json = (body, { status = 200, ...headers } = {}) => new Response(
  JSON.stringify(body), { status, headers });
const pagesOf = (messages) => (address) => {
  const after = address.searchParams.get('after');
  const limit = Number(address.searchParams.get('limit'));
  const range = messages.filter(({ id }) => id > after);
  return json({ data: range.slice(0, limit), has_more: range.length > limit });
};
const refused = (promise, code) => assert.rejects(promise, (error) => error.code === code);

test('it connects to the space with the subprotocol and its identity', () => {
  const { socket } = new World({ token: 'a.b c' });
  assert.equal(socket.protocols, SUBPROTOCOL);
  assert.equal(socket.url.origin, 'wss://hub.example');
  assert.equal(socket.url.pathname, '/v1/ws/spaces/1');
  const query = Object.fromEntries(socket.url.searchParams);
  assert.deepEqual(query, { user_id: '7', username: 'Ana Ñ', token: 'a.b c' });
});

test('a hub behind a path and a ws address are understood', () => {
  const { socket } = new World({ url: 'ws://hub.example:8080/events' });
  assert.equal(socket.url.href.split('?')[0], 'ws://hub.example:8080/events/v1/ws/spaces/1');
});

test('states and frames become events, what is unknown is ignored', () => {
  const world = new World();
  assert.equal(world.state.state, 'connecting');
  world.welcome(4);
  const who = { user_id: 2, space_id: 1 };
  world.frame('join', { ...who, username: '' }, { ...who, username: 'Beto' });
  world.frame('leave', { ...who, username: '' }, who);
  world.frame('presence', { space_id: 1, members: 900 });
  world.frame('news', { of: 'tomorrow' });
  world.socket.onmessage({ data: 'not json' });
  world.socket.onmessage({ data: 'null' });
  world.chat(5);
  assert.deepEqual(world.events.map(({ type }) => type),
    ['state', 'open', 'state', 'welcome', 'join', 'leave', 'presence', 'chat']);
  assert.equal(world.of('join')[0].username, 'Beto');
  assert.equal(world.of('presence')[0].members, 900);
  assert.equal(world.of('chat')[0].history, false);
  assert.equal(world.client.position, idOf(5));
});

test('it resumes from the welcome position and then from the last message', async () => {
  const world = new World();
  world.welcome(4);
  world.drop();
  await world.reconnect();
  assert.equal(world.socket.url.searchParams.get('after'), idOf(4));
  world.welcome(6);
  world.chat(5, 6);
  assert.deepEqual(world.shown, [], 'the replay is held until its end is known');
  world.resumed(4, 6);
  world.chat(7);
  world.drop();
  await world.reconnect();
  assert.equal(world.socket.url.searchParams.get('after'), idOf(7));
  assert.deepEqual(world.shown, ['m5', 'm6', 'm7']);
  world.welcome(9);
  world.resumed(7, 9);
  assert.equal(world.client.position, idOf(9), 'ids that no message has count too');
});

test('a lost replay is asked for again and nothing of it is shown twice', async () => {
  const world = new World();
  world.welcome(1);
  world.drop();
  await world.reconnect();
  world.welcome(4);
  world.chat(2, 3);
  world.drop();
  await world.reconnect();
  assert.equal(world.socket.url.searchParams.get('after'), idOf(1));
  world.welcome(4);
  world.chat(2, 3, 4);
  world.resumed(1, 4);
  world.chat(3, 4, 5);
  assert.deepEqual(world.shown, ['m2', 'm3', 'm4', 'm5']);
});

test('close codes ask for what the contract says', () => {
  for (const code of [1002, 1007, 1008, 4001, 4003, 4009]) {
    assert.equal(retryDelay(code, { retry_after_ms: 5 }, 700), null, `${code} stops`);
  }
  for (const code of [1006, 1009, 1011, 1013, 4008]) {
    assert.equal(retryDelay(code, null, 700), 700, `${code} waits the jitter`);
    assert.equal(retryDelay(code, { retry_after_ms: 4200 }, 700), 4200, `${code} heeds the hint`);
  }
  assert.equal(retryDelay(1012, { retry_after_ms: 42 }, 700), 42);
  assert.equal(retryDelay(1012, null, 700), 700);
  assert.equal(retryDelay(4029, null, 700), 10_000);
  assert.equal(retryDelay(1000, { code: 1000, reason: 'bye' }, 700), null, 'no hint');
});

test('a restart is waited for exactly as long as the hub asks', async () => {
  const world = new World();
  world.welcome();
  world.frame('closing', { code: 1012, reason: 'restart', retry_after_ms: 4200 });
  world.drop(1012, 'restart');
  const { state, reason, retryInMs } = world.state;
  assert.deepEqual([state, reason, retryInMs], ['waiting', 'restart', 4200]);
  world.window.dispatchEvent(new Event('online'));
  await world.pass(4199);
  assert.equal(world.sockets.length, 1, 'not even the network coming back is sooner');
  await world.pass(1);
  assert.equal(world.sockets.length, 2);
});

test('who was too fast waits ten seconds', async () => {
  const world = new World();
  world.welcome();
  world.drop(4029, 'too_fast');
  await world.pass(9_999);
  assert.equal(world.sockets.length, 1);
  await world.pass(1);
  assert.equal(world.sockets.length, 2);
});

test('after a kick it stays away and rejects what was pending', async () => {
  const world = new World();
  world.welcome();
  const sent = world.client.send('hola');
  world.drop(4009, 'kicked');
  await refused(sent, 'closed');
  await refused(world.client.send('still here?'), 'closed');
  world.window.dispatchEvent(new Event('online'));
  await world.pass(3_600_000);
  assert.equal(world.sockets.length, 1);
  assert.deepEqual([world.state.state, world.state.reason], ['closed', 'kicked']);
});

test('with a new token it goes on where it was', async () => {
  const world = new World({ token: 'old' });
  world.welcome(3);
  world.drop(4001, 'unauthorized');
  assert.equal(world.state.reason, 'unauthorized');
  world.client.token = 'new';
  world.client.connect();
  const query = world.socket.url.searchParams;
  assert.deepEqual([query.get('token'), query.get('after')], ['new', idOf(3)]);
});

test('retries spread by full jitter from half a second to twenty', async () => {
  for (const [random, first, last] of [[0, 500, 500], [0.999_999, 1000, 20_000]]) {
    const world = new World();
    world.random = () => random;
    const waits = [];
    for (let i = 0; i < 9; i++) {
      world.drop();
      waits.push(Math.round(world.state.retryInMs));
      await world.reconnect();
    }
    assert.equal(waits[0], first);
    assert.equal(waits.at(-1), last);
    assert.ok(waits.every((ms, i) => i === 0 || ms >= waits[i - 1]));
  }
});

test('only a connection that lasted makes the waits short again', async () => {
  const world = new World();
  world.random = () => 0.999_999;
  for (let i = 0; i < 4; i++) {
    world.welcome();
    world.drop(1011);
    await world.reconnect();
  }
  world.welcome();
  world.drop(1011);
  assert.equal(Math.round(world.state.retryInMs), 16_000);
  await world.reconnect();
  world.welcome();
  await world.pass(10_000);
  world.drop(1011);
  assert.equal(Math.round(world.state.retryInMs), 1000);
});

test('the network or the tab coming back retries at once', () => {
  for (const wake of [
    (world) => world.window.dispatchEvent(new Event('online')),
    (world) => world.document.dispatchEvent(new Event('visibilitychange')),
  ]) {
    const world = new World();
    world.welcome();
    world.drop();
    world.document.visibilityState = 'hidden';
    wake(world);
    assert.equal(world.sockets.length, 1, 'a hidden tab keeps to its time');
    world.document.visibilityState = 'visible';
    wake(world);
    assert.equal(world.sockets.length, 2);
    assert.equal(world.timers.size, 1, 'and the timer of the retry is gone');
  }
});

test('a silent connection is probed, then dropped', async () => {
  const world = new World();
  world.welcome();
  await world.pass(53_999);
  assert.deepEqual(world.socket.sent, []);
  await world.pass(1);
  assert.deepEqual(world.socket.sent, [{ type: 'ping' }]);
  world.frame('pong', { message: 'pong' });
  await world.pass(54_000);
  assert.equal(world.socket.sent.length, 2);
  await world.pass(10_000);
  assert.deepEqual([world.state.state, world.state.reason], ['waiting', 'no_answer']);
  assert.equal(world.sockets[0].closedWith, 'none');
});

test('a handshake that hangs is given up', async () => {
  const world = new World();
  await world.pass(15_000);
  assert.deepEqual([world.state.state, world.state.reason], ['waiting', 'no_answer']);
});

test('a refused handshake is explained by asking the same address over HTTP', async () => {
  const ask = async (answer) => {
    const world = new World();
    world.answer = () => answer;
    world.drop();
    await settled();
    assert.equal(world.asked[0].address.href, world.socket.url.href.replace('wss:', 'https:'));
    return world.state;
  };
  const no = await ask(json({ message: 'no', code: 'unauthorized' }, { status: 401 }));
  assert.deepEqual([no.state, no.reason], ['closed', 'unauthorized']);
  const full = await ask(json({ message: 'full', code: 'too_many_connections' },
    { status: 503, 'Retry-After': '30' }));
  assert.deepEqual([full.state, full.reason, full.retryInMs],
    ['waiting', 'too_many_connections', 30_000]);
  const fine = await ask(json({
    message: 'Error upgrading WebSocket connection', code: 'invalid_parameter',
  }, { status: 400 }));
  assert.equal(fine.state, 'waiting', 'by now the hub would take us');
});

test('a late explanation does not disturb the next attempt', async () => {
  const world = new World();
  let explain;
  world.answer = () => new Promise((resolve) => { explain = resolve; });
  world.drop();
  await settled();
  await world.reconnect();
  world.welcome();
  explain(json({ message: 'no', code: 'forbidden' }, { status: 403 }));
  await settled();
  assert.equal(world.state.state, 'open');
});

test('send resolves with the level that was asked for', async () => {
  const world = new World();
  world.welcome();
  const accepted = world.client.send('hola');
  const durable = world.client.send('guardado', { ack: 'durable', image: 'https://x/i.png' });
  const [first, second] = world.socket.sent;
  assert.deepEqual(first, { type: 'chat', data: { content: 'hola', nonce: first.data.nonce } });
  assert.match(first.data.nonce, /^[!-~]{16}$/);
  assert.equal(second.data.ack, 'durable');
  assert.equal(second.data.image, 'https://x/i.png');
  world.ack(first, 1);
  assert.deepEqual(await accepted, { id: idOf(1), level: 'accepted', duplicate: false });
  world.ack(second, 2);
  world.ack(second, 2, 'durable');
  assert.deepEqual(await durable, { id: idOf(2), level: 'durable', duplicate: false });
  assert.deepEqual(world.of('ack').map(({ level }) => level), ['accepted', 'accepted', 'durable']);
});

test('an error answer rejects its own send and no other', async () => {
  const world = new World();
  world.welcome();
  const [one, two] = [world.client.send('one'), world.client.send('two')];
  const ref = world.socket.sent[0].data.nonce;
  world.frame('error', { code: 'rate_limited', message: 'espera', ref, retry_after_ms: 120 });
  await assert.rejects(one, { name: 'HubError', code: 'rate_limited', retryAfterMs: 120 });
  world.ack(world.socket.sent[1], 1);
  assert.equal((await two).id, idOf(1));
  assert.equal(world.of('error')[0].code, 'rate_limited');
});

test('unanswered sends go out again with the same nonce, in order', async () => {
  const world = new World();
  const early = world.client.send('before the welcome');
  world.welcome();
  const later = world.client.send('after');
  const before = world.socket.sent;
  world.drop();
  const offline = world.client.send('while away');
  await world.reconnect();
  world.welcome(1);
  assert.deepEqual(world.socket.sent.slice(0, 2), before, 'byte for byte');
  assert.equal(world.socket.sent[2].data.content, 'while away');
  world.ack(world.socket.sent[0], 1, 'accepted', true);
  world.ack(world.socket.sent[1], 2);
  world.ack(world.socket.sent[2], 3);
  assert.deepEqual(await early, { id: idOf(1), level: 'accepted', duplicate: true });
  assert.deepEqual([(await later).id, (await offline).id], [idOf(2), idOf(3)]);
});

test('what a welcome listener sends comes after what waited', () => {
  const world = new World();
  world.client.addEventListener('welcome', () => world.client.send('second'));
  world.client.send('first');
  world.welcome();
  assert.deepEqual(world.socket.sent.map(({ data }) => data.content), ['first', 'second']);
});

test('past the publish-once window it does not risk a second copy', async () => {
  const world = new World();
  world.welcome();
  const unknown = world.client.send('did it arrive?');
  const known = world.client.send('it did', { ack: 'durable' });
  world.ack(world.socket.sent[1], 2);
  world.drop();
  await world.reconnect();
  const never = world.client.send('not sent before');
  await world.pass(RESEND_WINDOW_MS);
  world.welcome(2);
  world.drop();
  await world.reconnect();
  world.welcome(2);
  await refused(unknown, 'unknown_outcome');
  assert.deepEqual(await known, { id: idOf(2), level: 'accepted', duplicate: false });
  assert.deepEqual(world.socket.sent.map(({ data }) => data.content), ['not sent before']);
  world.ack(world.socket.sent[0], 3);
  assert.equal((await never).id, idOf(3));
});

test('the publish-once window counts from the first time a message left', async () => {
  const world = new World();
  world.welcome();
  const sent = world.client.send('hola');
  for (let i = 0; i < 2; i++) {
    await world.pass(RESEND_WINDOW_MS / 2);
    world.frame('pong', { message: 'pong' });
    world.drop();
    await world.reconnect();
    world.welcome();
  }
  await refused(sent, 'unknown_outcome');
});

test('a message that is too big closes once and is not sent again', async () => {
  const world = new World();
  world.welcome(0, { message_bytes_max: 5000 });
  const [small, big] = [world.client.send('small'), world.client.send('x'.repeat(900))];
  world.drop(1009, 'message_too_big');
  await refused(big, 'message_too_big');
  await world.reconnect();
  world.welcome();
  assert.deepEqual(world.socket.sent.map(({ data }) => data.content), ['small']);
  world.ack(world.socket.sent[0], 1);
  await small;
});

test('what the hub would refuse for its size never leaves', async () => {
  const world = new World();
  const queued = world.client.send('ñ'.repeat(1001));
  world.welcome();
  await refused(queued, 'content_too_long');
  await refused(world.client.send('ñ'.repeat(300)), 'message_too_big');
  await refused(world.client.send(''), 'content_empty');
  assert.deepEqual(world.socket.sent, []);
  assert.deepEqual(world.client.measure('😀'.repeat(1000)).chars, 1000);
  const fits = 'a'.repeat(512 - world.client.measure('').bytes);
  assert.equal(world.client.measure(fits).fits, true);
  assert.equal(world.client.measure(`${fits}a`).fits, false);
});

test('half a surrogate pair is replaced, since the hub would refuse the frame', () => {
  const world = new World();
  world.welcome();
  world.client.send('a\ud83d b😀');
  assert.equal(world.socket.sent[0].data.content, 'a\ufffd b😀');
});

test('sends without an answer are bounded', async () => {
  const world = new World();
  world.welcome();
  const sends = Array.from({ length: PENDING_MAX }, (_, i) => world.client.send(`m${i}`));
  await refused(world.client.send('one more'), 'too_many_pending');
  world.ack(world.socket.sent[0], 1);
  await sends[0];
  world.client.send('now it fits').catch(() => {});
  assert.equal(world.socket.sent.length, PENDING_MAX + 1);
  sends.forEach((send) => send.catch(() => {}));
  world.client.close();
});

test('sends that wait for the store are bounded: the oldest settles as accepted', async () => {
  const world = new World();
  world.welcome();
  const sends = [];
  for (let n = 1; n <= STORING_MAX + 1; n++) {
    sends.push(world.client.send(`m${n}`, { ack: 'durable' }));
    world.ack(world.socket.sent.at(-1), n);
  }
  assert.deepEqual(await sends[0], { id: idOf(1), level: 'accepted', duplicate: false });
});

test('a hole in the replay is read over HTTP and shown before what is newer', async () => {
  const world = new World({ after: idOf(1) });
  const stored = Array.from({ length: 300 }, (_, i) => messageOf(i + 1));
  world.answer = pagesOf(stored);
  world.welcome(300);
  world.chat(...Array.from({ length: 50 }, (_, i) => 251 + i));
  world.resumed(250, 300, { complete: false, reason: 'too_many' });
  world.chat(301);
  assert.deepEqual(world.shown, []);
  await settled(200);
  world.chat(302);
  assert.deepEqual(world.shown, Array.from({ length: 301 }, (_, i) => `m${i + 2}`));
  assert.ok(world.of('chat').slice(0, 249).every(({ history }) => history));
  assert.ok(world.of('chat').slice(249).every(({ history }) => !history));
  const { after, from, reason } = world.of('gap')[0];
  assert.deepEqual([after, from, reason], [idOf(1), idOf(250), 'too_many']);
  assert.equal(world.asked[0].address.pathname, '/v1/spaces/1/messages');
});

test('a page that takes the gap in its own hands gets what follows it', async () => {
  const world = new World({ after: idOf(1) });
  world.client.addEventListener('gap', (event) => event.preventDefault());
  world.welcome(9);
  world.chat(9);
  world.resumed(8, 9, { complete: false, reason: 'too_many' });
  assert.deepEqual(world.shown, ['m9']);
  assert.equal(world.asked.length, 0);
});

test('filling a gap is tried again while the store is away, then given up aloud', async () => {
  const world = new World({ after: idOf(1) });
  let failures = 2;
  const away = () => json({ code: 'store_unavailable' }, { status: 503, 'Retry-After': '2' });
  const back = pagesOf([messageOf(2), messageOf(3)]);
  world.answer = (address) => (failures-- > 0 ? away() : back(address));
  world.welcome(4);
  world.chat(4);
  world.resumed(3, 4, { complete: false, reason: 'store_unavailable' });
  await world.pass(10_000);
  assert.deepEqual(world.shown, ['m2', 'm3', 'm4']);

  const other = new World({ after: idOf(1) });
  other.answer = away;
  other.welcome(4);
  other.chat(4);
  other.resumed(3, 4, { complete: false, reason: 'store_unavailable' });
  await other.pass(40_000);
  const [told] = other.of('error');
  assert.deepEqual([told.code, told.after, told.from], ['gap_not_filled', idOf(1), idOf(3)]);
  assert.deepEqual(other.shown, ['m4'], 'and life goes on');
});

test('a position ahead of the hub is set back, so that new messages are seen', async () => {
  const world = new World({ after: idOf(90) });
  world.welcome(50);
  world.resumed(50, 50, { complete: false, reason: 'ahead' });
  world.chat(51);
  assert.deepEqual(world.shown, ['m51']);
  assert.equal(world.of('gap')[0].reason, 'ahead');
});

test('what is held during a fill is bounded: over it the client starts again', async () => {
  const world = new World({ after: idOf(0) });
  let release;
  world.answer = () => new Promise((resolve) => { release = resolve; });
  world.welcome(1);
  world.resumed(1, 1, { complete: false, reason: 'too_many' });
  await settled();
  for (let n = 2; n <= HELD_MAX + 2; n++) world.chat(n);
  assert.deepEqual([world.state.state, world.state.reason], ['waiting', 'behind']);
  release(json({ data: [messageOf(1)], has_more: false }));
  await settled();
  assert.deepEqual(world.shown, [], 'a fill of a lost connection shows nothing');
  await world.reconnect();
  assert.equal(world.socket.url.searchParams.get('after'), idOf(0));
});

test('close leaves for good and lets go of everything', async () => {
  const world = new World();
  world.welcome();
  const sent = world.client.send('hola');
  world.client.close();
  await refused(sent, 'closed');
  assert.equal(world.socket.closedWith, 1000);
  assert.equal(world.timers.size, 0);
  world.window.dispatchEvent(new Event('online'));
  assert.equal(world.sockets.length, 1);
  assert.deepEqual([world.state.state, world.state.reason], ['closed', 'left']);
});

test('history asks for a range and explains a refusal', async () => {
  const asked = [];
  const fetch = async (address, init) => {
    asked.push([address.href, init.headers.Authorization]);
    return json({ data: [messageOf(1)], has_more: true });
  };
  const url = 'https://hub.example';
  const page = await HubClient.history(3, { url, fetch, token: 't', before: idOf(2), limit: 10 });
  assert.deepEqual(page, { messages: [messageOf(1)], hasMore: true });
  const address = `https://hub.example/v1/spaces/3/messages?before=${idOf(2)}&limit=10`;
  assert.deepEqual(asked, [[address, 'Bearer t']]);
  const away = async () => json({ message: 'away', code: 'store_unavailable' },
    { status: 503, 'Retry-After': '2' });
  await assert.rejects(HubClient.history(3, { url, fetch: away }),
    { code: 'store_unavailable', message: 'away', retryAfterMs: 2000, status: 503 });
});

// A hub with a short memory, cut at random places: the app must see each message once, in order,
// and each send must be published once.
test('through random cuts no message is lost, repeated or published twice', async () => {
  for (let seed = 1; seed <= 150; seed++) {
    let s = seed;
    const random = () => {
      s = (s + 0x6d2b79f5) | 0;
      let t = Math.imul(s ^ (s >>> 15), 1 | s);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
    };
    const world = new World({ after: idOf(0) });
    world.random = random;
    const log = [];
    const nonces = new Map();
    world.answer = (address) => (address.pathname.endsWith('/messages') ? pagesOf(log)(address)
      : json({ message: 'Error upgrading WebSocket connection' }, { status: 400 }));
    let served = 0;
    let answered = 0;
    let calm = false;
    const publish = (content) => {
      log.push({ ...messageOf(log.length + 1), content });
      if (served && served === world.socket) world.frame('chat', log.at(-1));
      return log.length;
    };
    const serve = () => {
      if (served === world.socket || world.state.state !== 'connecting') return;
      served = world.socket;
      answered = 0;
      world.welcome(log.length);
      const after = Number(served.url.searchParams.get('after').slice(3));
      const from = Math.max(after, log.length - 5);
      for (const message of log.slice(from)) {
        if (!calm && random() < 0.05) return cut();
        world.frame('chat', message);
      }
      const whole = from === after;
      world.resumed(from, log.length, whole ? {} : { complete: false, reason: 'too_many' });
    };
    const cut = () => {
      served = 0;
      world.drop([1006, 1011, 1012, 4008][Math.floor(random() * 4)]);
    };
    const answer = () => {
      while (served && served === world.socket && answered < served.sent.length) {
        const sent = served.sent[answered++];
        if (sent.type === 'ping') world.frame('pong', { message: 'pong' });
        if (sent.type !== 'chat') continue;
        const { nonce, content } = sent.data;
        const known = nonces.get(nonce);
        const n = known ?? publish(content);
        nonces.set(nonce, n);
        if (!calm && random() < 0.3) return cut();
        world.ack(sent, n, 'accepted', known !== undefined);
      }
    };
    const outcomes = [];
    for (let step = 0; step < 120; step++) {
      const dice = random();
      if (dice < 0.35) publish(`other ${step}`);
      else if (dice < 0.55) outcomes.push(world.client.send(`own ${step}`).catch(String));
      else if (dice < 0.65 && served === world.socket) cut();
      else if (dice < 0.7) world.window.dispatchEvent(new Event('online'));
      else await world.pass(random() * 900);
      serve();
      answer();
    }
    calm = true;
    for (let i = 0; i < 60; i++) {
      await world.pass(2_000);
      serve();
      answer();
    }
    await settled(100);
    assert.deepEqual(world.shown, log.map(({ content }) => content), `seed ${seed}`);
    assert.equal(new Set(world.shown).size, log.length, `seed ${seed}: no send came out twice`);
    for (const outcome of await Promise.all(outcomes)) {
      const fine = outcome.id || /publish-once|waiting for an answer/.test(outcome);
      assert.ok(fine, `seed ${seed}: ${outcome}`);
    }
  }
});
