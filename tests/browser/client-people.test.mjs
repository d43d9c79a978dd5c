// The list of who is here, as client.js keeps it: equal to the hub's at rest.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { World, json, settled } from './world.mjs';

/** A world whose hub knows who is in the space, and answers pings. */
class Crowd extends World {
  users = new Map();
  constructor(options) {
    super({ people: true, ...options });
    this.answer = () => this.list();
  }
  list() {
    const users = [...this.users.values()].map((user) => ({ ...user }));
    const members = users.reduce((sum, { connections }) => sum + connections, 0);
    const truncated = users.length > 500;
    return json({ space_id: 1, members, users: users.slice(0, 500), truncated });
  }
  comes(user_id, { told = true } = {}) {
    const { connections = 0 } = this.users.get(user_id) ?? {};
    const username = `User${user_id}`;
    this.users.set(user_id, { user_id, username, connections: connections + 1 });
    if (told) this.presence('join', user_id);
  }
  goes(user_id, { told = true } = {}) {
    const user = this.users.get(user_id);
    if (user.connections > 1) user.connections -= 1;
    else this.users.delete(user_id);
    if (told) this.presence('leave', user_id);
  }
  enter(resume = false) {
    this.welcome(1, { members: this.users.size + 1 });
    if (resume) this.resumed(1, 1);
    this.comes(7);
  }
  /** Lets the hub answer the pings that were sent, and time pass. */
  async rest(ms = 20_000) {
    for (let left = ms; left > 0; left -= 100) {
      while (this.ponged < this.pings) this.pong();
      await this.pass(100);
    }
  }
  get pings() { return this.socket.sent.filter(({ type }) => type === 'ping').length; }
  ponged = 0;
  pong() {
    this.ponged += 1;
    this.frame('pong', { message: 'pong' });
  }
  get ids() {
    return this.client.people.users?.map(({ user_id }) => user_id).sort((a, b) => a - b);
  }
  get truth() { return [...this.users.keys()].sort((a, b) => a - b); }
}

test('before the list is known there is a number, then the list, then each change', async () => {
  const world = new Crowd();
  for (const user of [1, 2]) world.comes(user, { told: false });
  world.enter();
  assert.deepEqual(world.client.people, { members: 3, users: null });
  await world.rest();
  assert.deepEqual(world.ids, [1, 2, 7]);
  world.comes(3);
  world.goes(1);
  assert.deepEqual(world.ids, [2, 3, 7]);
  assert.deepEqual(world.of('people').at(-1).users.length, 3);
  assert.equal(world.client.people.members, 3);
  assert.equal(world.of('leave')[0].username, 'User1', 'a name that the wire leaves out');
});

test('without the option nothing is asked', async () => {
  const world = new World();
  world.welcome();
  world.presence('join', 7);
  await settled();
  assert.equal(world.asked.length, 0);
  assert.equal(world.client.people, null);
});

test('who comes or goes while the list is read is not lost', async () => {
  const world = new Crowd();
  let answered;
  world.answer = () => new Promise((resolve) => { answered = resolve; });
  for (const user of [1, 2]) world.comes(user, { told: false });
  world.enter();
  const old = world.list();
  world.goes(1);
  world.comes(3);
  answered(old);
  world.answer = () => world.list();
  await world.rest();
  assert.deepEqual(world.ids, world.truth);
});

test('a join that the list has already, but that is still on its way, counts once', async () => {
  const world = new Crowd();
  world.comes(3, { told: false });
  world.enter();
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
  assert.equal(world.asked.length, 1, 'the list was read');
  world.presence('join', 3);
  await world.rest();
  assert.deepEqual(world.client.people.users.map(({ connections }) => connections), [1, 1]);
});

test('in a big space a number is told, and the list again with the next single join', async () => {
  const world = new Crowd();
  for (let user = 100; user < 720; user++) world.comes(user, { told: false });
  world.enter();
  world.frame('presence', { space_id: 1, members: 621 });
  await world.rest();
  assert.deepEqual(world.client.people, { members: 621, users: null });
  for (let user = 100; user < 340; user++) world.goes(user, { told: false });
  world.frame('presence', { space_id: 1, members: 381 });
  world.comes(8);
  await world.rest();
  assert.equal(world.client.people.users.length, 382);
  assert.deepEqual(world.ids, world.truth);
});

test('after the end nothing is asked any more, and no timer is left', async () => {
  const world = new Crowd();
  world.answer = () => json({ code: 'overloaded' }, { status: 503 });
  world.enter();
  await world.rest(5_000);
  world.client.close();
  const { length } = world.asked;
  await world.pass(60_000);
  assert.equal(world.asked.length, length);
  assert.equal(world.timers.size, 0);
});

test('a list that can’t be read is asked for again, not given up', async () => {
  const world = new Crowd();
  world.answer = () => json({ code: 'overloaded' }, { status: 503 });
  world.comes(1, { told: false });
  world.enter();
  await world.rest(40_000);
  assert.ok(world.asked.length < 12, `${world.asked.length} requests in 40 s`);
  world.answer = () => world.list();
  await world.rest(30_000);
  assert.deepEqual(world.ids, [1, 7]);
});

test('after a hole in what was heard the list is the hub’s again', async () => {
  const world = new Crowd();
  for (const user of [1, 2, 3]) world.comes(user, { told: false });
  world.enter();
  await world.rest();
  world.drop(1012);
  world.ponged = 0;
  world.users.clear();
  for (const user of [3, 4]) world.comes(user, { told: false });
  await world.reconnect();
  world.enter(true);
  await world.rest();
  assert.deepEqual(world.ids, [3, 4, 7]);
});

test('at rest the list is the hub’s, through seeded comings, goings and cuts', async () => {
  for (let seed = 1; seed <= 40; seed++) {
    let s = seed;
    const random = () => { s = (s * 16807) % 2147483647; return s / 2147483647; };
    const world = new Crowd();
    world.random = random;
    const answers = [];
    world.answer = () => new Promise((resolve) => {
      const list = world.list();
      if (random() < 0.1) return resolve(json({ code: 'overloaded' }, { status: 503 }));
      answers.push(() => resolve(list));
    });
    world.enter();
    for (let step = 0; step < 200; step++) {
      const dice = random();
      const user = 10 + Math.floor(random() * 6);
      if (dice < 0.3) world.comes(user);
      else if (dice < 0.5 && world.users.has(user)) world.goes(user);
      else if (dice < 0.6) answers.shift()?.();
      else if (dice < 0.7 && world.ponged < world.pings) world.pong();
      else if (dice < 0.75) {
        world.drop();
        world.ponged = 0;
        world.goes(7, { told: false });
        for (let i = 0; i < 3; i++) world.comes(20 + i, { told: false });
        await world.reconnect();
        world.enter(true);
      } else await world.pass(random() * 600);
    }
    for (let i = 0; i < 40; i++) {
      while (answers.length) answers.shift()();
      await world.rest(1_000);
    }
    assert.deepEqual(world.ids, world.truth, `seed ${seed}`);
    const { users } = world.client.people;
    const counts = users.map(({ user_id, connections }) => [user_id, connections]);
    assert.deepEqual(new Map(counts), new Map([...world.users.values()]
      .map(({ user_id, connections }) => [user_id, connections])), `seed ${seed}`);
    world.client.close();
  }
});
