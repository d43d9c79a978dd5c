// What client.js sends: once, in order, by the way that fits.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PENDING_MAX, RESEND_WINDOW_MS, STORING_MAX } from '../../src/console/client.js';
import { World, idOf, json, messageOf, refused, settled } from './world.mjs';

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

const long = 'ñ'.repeat(600);
const posts = (world) => world.asked.filter(({ method }) => method === 'POST');
const posted = (n, status = 202, headers = {}) => json(
  { chat_message: messageOf(n), message: 'Mensaje enviado exitosamente' }, { status, ...headers });

test('a message too long for the socket goes by post, with its nonce as the key', async () => {
  const world = new World({ token: 't' });
  world.welcome();
  world.answer = () => posted(1);
  const sent = await world.client.send(long, { image: 'https://x/i.png' });
  assert.deepEqual(sent, { id: idOf(1), level: 'accepted', duplicate: false });
  assert.deepEqual(world.socket.sent, []);
  const [{ address, headers, body }] = posts(world);
  assert.equal(address.pathname, '/v1/ws/spaces/1/chat');
  assert.match(headers['Idempotency-Key'], /^[!-~]{16}$/);
  assert.equal(headers.Authorization, 'Bearer t');
  assert.equal(headers.Prefer, 'respond-async');
  assert.deepEqual(JSON.parse(body), {
    space_id: 1, user_id: 7, username: 'Ana Ñ', message: long, image: 'https://x/i.png',
  });
  const { nonce, ...ack } = world.of('ack')[0];
  assert.equal(nonce, headers['Idempotency-Key']);
  assert.deepEqual(ack, { type: 'ack', id: idOf(1), level: 'accepted', duplicate: false });
});

test('what a post asks the store for comes behind its acceptance', async () => {
  const world = new World();
  world.welcome();
  const answers = [posted(1), posted(1, 202), posted(1, 200, { 'Idempotency-Replayed': 'true' })];
  world.answer = () => answers.shift();
  const sent = world.client.send(long, { ack: 'durable' });
  await world.pass(20_000);
  assert.deepEqual(await sent, { id: idOf(1), level: 'durable', duplicate: false });
  assert.deepEqual(world.of('ack').map(({ level }) => level), ['accepted', 'durable']);
  assert.deepEqual(posts(world).map(({ headers }) => headers.Prefer),
    ['respond-async', undefined, undefined]);
  const keys = new Set(posts(world).map(({ headers }) => headers['Idempotency-Key']));
  assert.equal(keys.size, 1);
});

test('long and short messages keep their order', async () => {
  const world = new World();
  world.welcome();
  let answer;
  world.answer = () => new Promise((resolve) => { answer = resolve; });
  const sends = ['one', long, 'three', 'four'].map((text) => world.client.send(text));
  await settled();
  assert.deepEqual(world.socket.sent.map(({ data }) => data.content), ['one']);
  assert.equal(posts(world).length, 0, 'the post waits for what is before it');
  world.ack(world.socket.sent[0], 1);
  await settled();
  assert.equal(posts(world).length, 1);
  assert.equal(world.socket.sent.length, 1, 'what is behind it waits');
  answer(posted(2));
  await settled();
  assert.deepEqual(world.socket.sent.map(({ data }) => data.content), ['one', 'three', 'four']);
  world.ack(world.socket.sent[1], 3);
  world.ack(world.socket.sent[2], 4);
  const ids = (await Promise.all(sends)).map(({ id }) => id);
  assert.deepEqual(ids, [1, 2, 3, 4].map(idOf));
});

test('a post that fails on its way is sent again with the same key, once', async () => {
  const world = new World();
  world.welcome();
  const answers = [
    () => { throw new TypeError('reset'); },
    () => new Response('bad gateway', { status: 502 }),
    () => posted(1, 202, { 'Idempotency-Replayed': 'true' }),
  ];
  world.answer = () => answers.shift()();
  const sent = world.client.send(long);
  await world.pass(20_000);
  assert.deepEqual(await sent, { id: idOf(1), level: 'accepted', duplicate: true });
  const keys = posts(world).map(({ headers }) => headers['Idempotency-Key']);
  assert.deepEqual(keys, [keys[0], keys[0], keys[0]]);
});

test('a post whose yes is cut short, or is somebody else’s, is sent again, once', async () => {
  const world = new World();
  world.welcome();
  const torn = () => new ReadableStream({ start: (body) => body.error(new TypeError('reset')) });
  const answers = [
    () => new Response(torn(), { status: 202 }),
    () => new Response(torn(), { status: 429 }),
    () => new Response('{"message":"Chat', { status: 202 }),
    () => new Response(null, { status: 204 }),
    () => new Response('<html>Welcome to the hotel</html>', { status: 200 }),
    () => new Response('{"welcome":"to the hotel"}', { status: 200 }),
    () => new Response('null', { status: 200 }),
    () => posted(1, 202, { 'Idempotency-Replayed': 'true' }),
  ];
  world.answer = () => answers.shift()();
  const sent = world.client.send(long);
  await world.pass(60_000);
  assert.deepEqual(await sent, { id: idOf(1), level: 'accepted', duplicate: true });
  assert.equal(new Set(posts(world).map(({ headers }) => headers['Idempotency-Key'])).size, 1);
});

test('a post without any answer ends as unknown, and what is behind it goes on', async () => {
  const world = new World();
  world.welcome();
  world.answer = () => new Promise(() => {});
  const sent = world.client.send(long);
  const next = world.client.send('next');
  for (let i = 0; i < 14; i++) {
    await world.pass(10_000);
    world.frame('pong', {});
  }
  await refused(sent, 'unknown_outcome');
  const chats = world.sockets[0].sent.filter(({ type }) => type === 'chat');
  assert.deepEqual(chats.map(({ data }) => data.content), ['next']);
  next.catch(() => {});
  world.client.close();
});

test('what the hub says of a post is the send’s outcome, with its hint', async () => {
  const world = new World();
  world.welcome();
  world.answer = () => json(
    { status: 429, code: 'rate_limited', detail: 'espera', retry_after_ms: 1200 }, { status: 429 });
  await assert.rejects(world.client.send(long),
    { code: 'rate_limited', message: 'espera', retryAfterMs: 1200 });
  assert.equal(world.of('error')[0].code, 'rate_limited');
  const answers = [posted(1), json({ code: 'store_refused', message: 'x' }, { status: 422 })];
  world.answer = () => answers.shift();
  await assert.rejects(world.client.send(long, { ack: 'durable' }),
    { code: 'store_refused', id: idOf(1) });
});

test('a message that the socket finds too big goes by post then', async () => {
  const world = new World();
  world.welcome(0, { message_bytes_max: 5000 });
  const [small, big] = [world.client.send('small'), world.client.send('x'.repeat(900))];
  world.drop(1009, 'message_too_big');
  world.answer = () => posted(2);
  await world.reconnect();
  world.welcome(0, { message_bytes_max: 5000 });
  assert.deepEqual(world.socket.sent.map(({ data }) => data.content), ['small']);
  world.ack(world.socket.sent[0], 1);
  assert.equal((await small).id, idOf(1));
  assert.equal((await big).id, idOf(2));
});

test('what has more characters than the hub takes never leaves; bytes don’t count', async () => {
  const world = new World();
  const queued = world.client.send('ñ'.repeat(1001));
  world.welcome();
  await refused(queued, 'content_too_long');
  await refused(world.client.send(''), 'content_empty');
  assert.deepEqual(world.socket.sent, []);
  assert.equal(posts(world).length, 0);
  const { chars, fits } = world.client.measure('😀'.repeat(1000));
  assert.deepEqual([chars, fits], [1000, true]);
  assert.equal(world.client.measure('a'.repeat(1001)).fits, false);
  const exact = 'a'.repeat(512 - world.client.measure('', { ack: 'accepted' }).bytes);
  world.client.send(exact).catch(() => {});
  assert.equal(world.socket.sent.length, 1, 'what just fits goes over the socket');
  world.client.close();
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

test('what a hub that ends refuses is sent to the next one, in its order', async () => {
  const world = new World();
  world.welcome();
  const sends = [world.client.send('one'), world.client.send('two')];
  const [one, two] = world.socket.sent;
  world.ack(one, 1);
  world.frame('error', { code: 'draining', message: '', ref: two.data.nonce, retry_after_ms: 50 });
  sends.push(world.client.send('three'));
  world.frame('error', { code: 'draining', message: '', ref: world.socket.sent[2].data.nonce });
  world.frame('closing', { code: 1012, reason: 'restart', retry_after_ms: 50 });
  world.drop(1012, 'restart');
  await world.reconnect();
  world.welcome();
  const again = world.socket.sent.filter(({ type }) => type === 'chat');
  assert.deepEqual(again.map(({ data }) => data.content), ['two', 'three']);
  assert.equal(again[0].data.nonce, two.data.nonce);
  again.forEach((sent, i) => world.ack(sent, i + 2));
  assert.deepEqual((await Promise.all(sends)).map(({ id }) => id), [1, 2, 3].map(idOf));
  assert.deepEqual(world.of('error'), []);
});

test('a post that a hub that ends refuses is made again when it says', async () => {
  const world = new World();
  world.welcome();
  const answers = [json({ code: 'draining' }, { status: 503, 'Retry-After': '2' }),
    json({ chat_message: messageOf(1) }, { status: 202 })];
  world.answer = () => answers.shift();
  const sent = world.client.send('long '.repeat(150));
  await world.pass(10_000);
  assert.equal((await sent).id, idOf(1));
  assert.deepEqual(world.of('error'), []);
});

test('a post that comes with a token that has ended is made again with the next one', async () => {
  const given = ['old', 'new'];
  const world = new World({ getToken: () => given.shift() });
  await settled();
  world.welcome();
  world.answer = (address, { headers }) => (headers.Authorization === 'Bearer new'
    ? json({ chat_message: messageOf(1) }, { status: 202 })
    : json({ code: 'unauthorized' }, { status: 401 }));
  const { id } = await world.client.send('long '.repeat(150));
  assert.equal(id, idOf(1));
  const keys = world.asked.map(({ headers }) => headers['Idempotency-Key']);
  assert.deepEqual([keys.length, new Set(keys).size], [2, 1]);
});
