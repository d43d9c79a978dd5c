// What client.js receives: once, in order, and what it does about holes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HELD_MAX, HubClient } from '../../src/console/client.js';
import { World, idOf, json, messageOf, pagesOf, settled } from './world.mjs';

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

const seen = (world) => world.events.filter(({ type }) => type === 'join' || type === 'leave')
  .map(({ type, user_id, timestamp }) => `${type} ${user_id} ${timestamp}`);

/** The joins and leaves of a quiet space, in its one order, from a time on. */
class Quiet {
  log = [];
  constructor(world) { this.world = world; }
  says(type, userId) {
    this.world.sleep(1);
    this.log.push([type, userId, this.world.hubTime]);
    return this.log.at(-1);
  }
  enter() {
    this.world.welcome(1);
    for (const told of this.log) this.world.presence(...told);
    if (this.world.socket.url.searchParams.has('after')) this.world.resumed(1, 1);
    this.world.presence(...this.says('join', 7));
  }
}

test('each join and leave is told once, however often a quiet space is resumed', async () => {
  const world = new World();
  const hub = new Quiet(world);
  hub.enter();
  for (let cut = 0; cut < 10; cut++) {
    world.presence(...hub.says('join', 20 + cut));
    world.drop();
    hub.says('leave', 7);
    await world.reconnect();
    hub.enter();
  }
  const all = hub.log.map(([type, user, at]) => `${type} ${user} ${at}`);
  assert.deepEqual(seen(world), all);
  assert.equal(seen(world).length, 31);
});

test('what came and went before the client’s own first join is not told', async () => {
  const world = new World({ after: idOf(1) });
  const hub = new Quiet(world);
  for (const user of [3, 4]) hub.says('join', user);
  hub.says('join', 7);
  hub.says('leave', 7);
  hub.enter();
  assert.deepEqual(world.of('join').map(({ user_id }) => user_id), [7]);
  world.drop();
  hub.says('leave', 4);
  hub.says('leave', 7);
  await world.reconnect();
  hub.enter();
  const told = [...world.of('join'), ...world.of('leave')].map(({ user_id }) => user_id);
  assert.deepEqual(told, [7, 7, 4, 7]);
});

test('a replay without the client’s own join tells nothing from before it either', () => {
  const world = new World({ after: idOf(1) });
  const before = ['join', 3, world.hubTime];
  world.sleep(1);
  world.welcome(1);
  world.resumed(1, 1);
  world.presence('join', 7);
  world.drop();
  world.client.connect();
  world.welcome(1);
  world.presence(...before);
  world.sleep(1);
  world.presence('leave', 3);
  world.resumed(1, 1);
  assert.deepEqual(world.of('join').map(({ user_id }) => user_id), [7]);
  assert.deepEqual(world.of('leave').map(({ user_id }) => user_id), [3]);
});

test('joins at the same instant by two tabs of one user are two', async () => {
  const world = new World();
  const hub = new Quiet(world);
  hub.enter();
  const twice = hub.says('join', 9);
  hub.log.push(twice);
  world.presence(...twice);
  world.drop();
  await world.reconnect();
  hub.enter();
  assert.equal(world.of('join').filter(({ user_id }) => user_id === 9).length, 2);
});

test('after a restart of the hub nothing is taken for known', async () => {
  const world = new World();
  const hub = new Quiet(world);
  hub.enter();
  world.presence(...hub.says('join', 9));
  world.drop(1012);
  hub.log.length = 0;
  await world.reconnect();
  for (const user of [9, 10]) hub.says('join', user);
  hub.enter();
  assert.deepEqual(world.of('join').map(({ user_id }) => user_id), [7, 9, 9, 10, 7]);
});

test('a history that never answers holds nothing up for ever, and the hole is told', async () => {
  const world = new World({ after: idOf(1) });
  world.answer = () => new Promise(() => {});
  world.welcome(20_000);
  world.chat(20_000);
  world.resumed(19_999, 20_000, { complete: false, reason: 'too_many' });
  world.chat(20_001);
  await world.pass(59_000);
  assert.deepEqual(world.shown, []);
  assert.ok(world.asked.length > 1, 'it asks again');
  assert.ok(world.asked.every(({ signal }) => signal), 'and lets go of what it asked');
  for (let i = 0; i < 4; i++) {
    await world.pass(5_000);
    world.frame('pong', {});
  }
  assert.deepEqual(world.shown, ['m20000', 'm20001']);
  const [asked, told] = world.of('gap');
  assert.equal(asked.reason, 'too_many');
  assert.deepEqual([told.reason, told.after, told.from], ['not_filled', idOf(1), idOf(19_999)]);
  assert.equal(world.of('error')[0].code, 'gap_not_filled');
  assert.equal(world.of('resumed').length, 1);
});

test('a history that goes on for ever is no reason to hold back what is new', async () => {
  const world = new World({ after: idOf(1) });
  const pages = pagesOf(Array.from({ length: 30_000 }, (_, i) => messageOf(i + 1)));
  world.answer = async (address) => {
    await world.pass(2_000);
    return pages(address);
  };
  world.welcome(30_000);
  world.resumed(29_999, 30_000, { complete: false, reason: 'too_many' });
  world.chat(30_001);
  await settled(4_000);
  assert.equal(world.shown.at(-1), 'm30001');
  assert.ok(world.shown.length > 1_000, 'what could be read in time is there');
  assert.equal(world.of('gap')[1].reason, 'not_filled');
});

test('no question waits for ever for its answer: presence and history', async () => {
  const world = new World();
  world.answer = () => new Promise(() => {});
  world.welcome();
  const asked = [world.client.presence(), world.client.history({})];
  for (const promise of asked) promise.catch(() => {});
  await world.pass(15_000);
  for (const promise of asked) await assert.rejects(promise, { code: 'no_answer' });
});
