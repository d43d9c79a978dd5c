// client.js against a small hub with a short memory, cut at random places. A failure names its
// seed; SEED=n runs that one alone.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { randomOf } from './support.mjs';
import { World, idOf, json, messageOf, pagesOf, settled } from './world.mjs';

const SEEDS = process.env.SEED ? [Number(process.env.SEED)]
  : Array.from({ length: 150 }, (_, i) => i + 1);
const LONG = 'long '.repeat(120);
/** Frames that the hub's memory holds for a resume. */
const MEMORY = 12;

/** One space of a hub, with one log of chats, joins and leaves. */
class Hub {
  log = [];
  messages = [];
  nonces = new Map();
  users = new Map();
  served = null;
  answered = 0;
  calm = false;

  constructor(world, random) {
    this.world = world;
    this.random = random;
    world.answer = (address, init) => this.http(address, init);
  }

  http(address, { method, headers, body }) {
    const { pathname } = address;
    const fails = !this.calm && this.random() < 0.15;
    if (fails && this.random() < 0.5) throw new TypeError('reset on the way there');
    let answer = json({ code: 'invalid_upgrade' }, { status: 400 });
    if (pathname.endsWith('/messages')) answer = pagesOf(this.messages)(address);
    if (pathname.endsWith('/presence')) answer = this.presence();
    if (method === 'POST') answer = this.post(headers['Idempotency-Key'], JSON.parse(body));
    if (fails) throw new TypeError('reset on the way back');
    return answer;
  }
  presence() {
    const users = [...this.users].map(([user_id, connections]) => (
      { user_id, username: `User${user_id}`, connections }));
    const members = users.reduce((sum, { connections }) => sum + connections, 0);
    return json({ members, users, truncated: false });
  }
  post(nonce, { message }) {
    const known = this.nonces.get(nonce);
    const n = known ?? this.publish(message, nonce);
    const status = this.random() < 0.5 ? 200 : 202;
    const replayed = known === undefined ? {} : { 'Idempotency-Replayed': 'true' };
    return json({ chat_message: messageOf(n) }, { status, ...replayed });
  }

  publish(content, nonce) {
    const message = { ...messageOf(this.messages.length + 1), content };
    this.messages.push(message);
    if (nonce) this.nonces.set(nonce, this.messages.length);
    this.append({ chat: message });
    return this.messages.length;
  }
  comes(user) {
    this.users.set(user, (this.users.get(user) ?? 0) + 1);
    this.append({ type: 'join', user });
  }
  goes(user) {
    const left = (this.users.get(user) ?? 0) - 1;
    if (left < 0) return;
    if (left) this.users.set(user, left);
    else this.users.delete(user);
    this.append({ type: 'leave', user });
  }
  append(entry) {
    this.log.push({ ...entry, at: this.world.hubTime, position: this.messages.length });
    if (this.served === this.world.socket) this.tell(this.log.at(-1));
    this.world.sleep(1);
  }
  tell({ chat, type, user, at }) {
    if (chat) this.world.frame('chat', chat);
    else this.world.presence(type, user, at);
  }

  serve() {
    const { world } = this;
    if (this.served === world.socket || world.state.state !== 'connecting') return;
    this.answered = 0;
    world.welcome(this.messages.length);
    const after = Number(world.socket.url.searchParams.get('after').slice(3));
    // Memory begins behind a message; what is older comes from nowhere.
    const oldest = this.log.at(-MEMORY)?.position ?? 0;
    const from = Math.max(after, oldest);
    for (const entry of this.log) {
      const missed = entry.chat ? entry.position > from : entry.position >= from;
      if (!missed) continue;
      if (!this.calm && this.random() < 0.03) return this.cut();
      this.tell(entry);
    }
    const whole = from === after;
    world.resumed(from, this.messages.length, whole ? {}
      : { complete: false, reason: 'too_many' });
    this.served = world.socket;
    this.comes(7);
  }
  cut() {
    const was = this.served;
    this.served = null;
    this.world.drop([1006, 1011, 1012, 4008][Math.floor(this.random() * 4)]);
    if (was) this.goes(7);
  }
  answer() {
    const { world } = this;
    while (this.served && this.served === world.socket
      && this.answered < this.served.sent.length) {
      const { type, data } = this.served.sent[this.answered++];
      if (type === 'ping') world.frame('pong', { message: 'pong' });
      if (type !== 'chat') continue;
      const known = this.nonces.get(data.nonce);
      const n = known ?? this.publish(data.content, data.nonce);
      if (!this.calm && this.random() < 0.3) return this.cut();
      world.ack({ data }, n, 'accepted', known !== undefined);
      if (data.ack === 'durable') world.ack({ data }, n, 'durable', known !== undefined);
    }
    if (this.served && this.served !== world.socket) {
      this.served = null;
      this.goes(7);
    }
  }
}

async function live(hub, world, random) {
  const outcomes = [];
  const send = (content) => outcomes.push(
    world.client.send(content, { ack: random() < 0.5 ? 'durable' : 'accepted' }).catch(String));
  for (let step = 0; step < 120; step++) {
    const dice = random();
    if (dice < 0.25) hub.publish(`other ${step}`);
    else if (dice < 0.4) hub.comes(10 + Math.floor(random() * 5));
    else if (dice < 0.5) hub.goes(10 + Math.floor(random() * 5));
    else if (dice < 0.6) send(`own ${step}`);
    else if (dice < 0.65) send(`${LONG}${step}`);
    else if (dice < 0.72 && hub.served === world.socket) hub.cut();
    else if (dice < 0.75) world.window.dispatchEvent(new Event('online'));
    else if (dice < 0.77) world.window.dispatchEvent(new Event('offline'));
    else if (dice < 0.79) {
      world.window.dispatchEvent(new Event('pagehide'));
      hub.answer();
      world.window.dispatchEvent(new Event('pageshow'));
    } else await world.pass(random() * 900);
    hub.serve();
    hub.answer();
  }
  hub.calm = true;
  for (let i = 0; i < 80; i++) {
    await world.pass(2_000);
    hub.serve();
    hub.answer();
  }
  await settled(100);
  return Promise.all(outcomes);
}

test('through random cuts nothing is lost, repeated, out of order or published twice', async () => {
  for (const seed of SEEDS) {
    const random = randomOf(seed);
    const world = new World({ after: idOf(0), people: true });
    world.random = random;
    const hub = new Hub(world, random);
    for (const user of [10, 11]) hub.comes(user);
    const outcomes = await live(hub, world, random);

    const said = hub.messages.map(({ content }) => content);
    assert.deepEqual(world.shown, said, `SEED=${seed}`);
    assert.equal(new Set(said).size, said.length, `SEED=${seed}: a send came out twice`);
    const own = said.map((text) => /^(?:own |long .* )(\d+)$/.exec(text)?.[1]).filter(Boolean);
    const inOrder = [...own].sort((a, b) => a - b);
    assert.deepEqual(own, inOrder, `SEED=${seed}: own messages out of order`);
    for (const outcome of outcomes) {
      const fine = outcome.id || /publish-once|waiting for an answer/.test(outcome);
      assert.ok(fine, `SEED=${seed}: ${outcome}`);
    }
    const told = world.events.filter(({ type }) => type === 'join' || type === 'leave');
    const keys = told.map(({ type, user_id, timestamp }) => `${type} ${user_id} ${timestamp}`);
    assert.equal(new Set(keys).size, keys.length, `SEED=${seed}: a join or leave came twice`);
    const firstOwn = hub.log.find(({ user }) => user === 7).at;
    assert.ok(told.every(({ timestamp }) => timestamp >= firstOwn), `SEED=${seed}: too early`);
    const { users } = world.client.people;
    const here = users.map(({ user_id, connections }) => [user_id, connections]);
    assert.deepEqual(new Map(here), hub.users, `SEED=${seed}: who is here`);
    world.client.close();
  }
});
