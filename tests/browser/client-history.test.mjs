// Paging through history with client.js.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HubClient } from '../../src/console/client.js';
import { World, idOf, json, messageOf, refused, settled } from './world.mjs';

const STORED = Array.from({ length: 7 }, (_, i) => messageOf(i + 1));
const numbers = (messages) => messages.map(({ content }) => Number(content.slice(1)));

/** What a hub answers of messages: the first behind `after`, or the last before `before`. */
const stored = (messages) => (address) => {
  const query = address.searchParams;
  const [after, before] = [query.get('after'), query.get('before')];
  const limit = Number(query.get('limit'));
  const range = messages.filter(({ id }) => (
    (after === null || id > after) && (before === null || id < before)));
  const data = after === null ? range.slice(-limit) : range.slice(0, limit);
  return json({ data, has_more: range.length > data.length });
};

async function collected(messages) {
  const all = [];
  for await (const message of messages) all.push(message);
  return numbers(all);
}

function quiet() {
  const world = new World();
  world.answer = stored(STORED);
  world.asked = [];
  return world;
}

test('all messages of a range come one by one, from either end', async () => {
  const { client } = quiet();
  const read = (range) => collected(client.messages({ pageSize: 2, ...range }));
  assert.deepEqual(await read(), [1, 2, 3, 4, 5, 6, 7]);
  assert.deepEqual(await read({ after: idOf(2) }), [3, 4, 5, 6, 7]);
  assert.deepEqual(await read({ after: idOf(2), before: idOf(6) }), [3, 4, 5]);
  assert.deepEqual(await read({ before: idOf(3) }), [1, 2]);
  assert.deepEqual(await read({ newestFirst: true }), [7, 6, 5, 4, 3, 2, 1]);
  assert.deepEqual(await read({ newestFirst: true, before: idOf(6) }), [5, 4, 3, 2, 1]);
  assert.deepEqual(await read({ newestFirst: true, after: idOf(4) }), [7, 6, 5]);
  assert.deepEqual(await read({ after: idOf(7) }), []);
});

test('a page is asked for only when the one before it has been taken', async () => {
  const world = quiet();
  const messages = world.client.messages({ pageSize: 3 });
  assert.equal(world.asked.length, 0);
  for (let i = 0; i < 3; i++) await messages.next();
  assert.equal(world.asked.length, 1);
  await messages.next();
  assert.equal(world.asked.length, 2);
  await messages.return();
  assert.deepEqual(await messages.next(), { value: undefined, done: true });
  assert.equal(world.asked.length, 2);
});

test('a hub that is busy is asked again when it says, and a refusal is told at once', async () => {
  const world = quiet();
  const busy = json({ code: 'overloaded' }, { status: 503, 'Retry-After': '3' });
  const answers = [
    () => busy,
    () => { throw new TypeError('reset'); },
    () => new Response('{"data":[{"id":', { status: 200 }),
    () => json({ welcome: 'to the hotel' }, { status: 200 }),
    stored(STORED),
  ];
  world.answer = (address) => (answers.length > 1 ? answers.shift() : answers[0])(address);
  const reading = collected(world.client.messages());
  await settled();
  await world.pass(2_999);
  assert.equal(world.asked.length, 1);
  await world.pass(60_000);
  assert.deepEqual(await reading, [1, 2, 3, 4, 5, 6, 7]);
  world.answer = () => json({ code: 'forbidden' }, { status: 403 });
  await refused(collected(world.client.messages()), 'forbidden');
});

test('a hub that stays away ends the wait after two minutes', async () => {
  const world = quiet();
  world.answer = () => { throw new TypeError('away'); };
  const reading = refused(collected(world.client.messages()), 'unreachable');
  await world.pass(130_000);
  await reading;
});

test('a signal ends a request and a wait', async () => {
  const world = quiet();
  const [asking, waiting] = [new AbortController(), new AbortController()];
  world.answer = () => new Promise(() => {});
  const asked = refused(world.client.history({ signal: asking.signal }), 'aborted');
  await settled();
  asking.abort();
  await asked;
  world.answer = () => json({ code: 'overloaded' }, { status: 503, 'Retry-After': '30' });
  const waited = refused(collected(world.client.messages({ signal: waiting.signal })), 'aborted');
  await settled();
  waiting.abort();
  await waited;
  await refused(world.client.history({ signal: waiting.signal }), 'aborted');
});

test('history and presence need no client', async () => {
  const asked = [];
  const fetch = async (address, { headers }) => {
    asked.push([address.pathname, headers.Authorization]);
    if (address.pathname.endsWith('presence')) return json({ members: 2, users: [] });
    return stored(STORED)(address);
  };
  const via = { url: 'https://hub.example', token: 't', fetch };
  assert.deepEqual(await collected(HubClient.messages(3, { ...via, pageSize: 5 })),
    [1, 2, 3, 4, 5, 6, 7]);
  assert.equal((await HubClient.presence(3, via)).members, 2);
  assert.deepEqual(asked, [['/v1/spaces/3/messages', 'Bearer t'],
    ['/v1/spaces/3/messages', 'Bearer t'], ['/v1/spaces/3/presence', 'Bearer t']]);
  assert.throws(() => HubClient.messages(3), /where the hub is/);
});
