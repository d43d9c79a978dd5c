// Tokens that client.js asks a function for.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { World, idOf, json, refused, settled } from './world.mjs';

test('a function is asked for a token before each connection', async () => {
  const given = ['first', Promise.resolve('second')];
  const world = new World({ token: () => given.shift() });
  assert.deepEqual([world.sockets.length, world.state.state], [0, 'connecting']);
  world.client.connect();
  await settled();
  assert.equal(world.sockets.length, 1, 'it is asked once');
  assert.equal(world.shownToken, 'first');
  world.welcome(3);
  assert.equal(world.of('state').filter(({ state }) => state === 'connecting').length, 1);
  world.drop();
  await world.reconnect();
  const after = world.socket.url.searchParams.get('after');
  assert.deepEqual([world.shownToken, after], ['second', idOf(3)]);
});

test('a function that fails is asked again, ever more rarely, and that is shown', async () => {
  let [asked, isBroken] = [0, true];
  const token = async () => {
    asked += 1;
    if (isBroken) throw new Error('the session has ended');
    return 'good';
  };
  const world = new World({ token });
  await settled();
  const waits = [];
  for (let tries = 1; tries <= 3; tries++) {
    assert.deepEqual([asked, world.sockets.length], [tries, 0]);
    const { state, reason, retryInMs } = world.state;
    assert.deepEqual([state, reason], ['waiting', 'token_failed']);
    waits.push(retryInMs);
    await world.pass(retryInMs);
  }
  assert.ok(waits[0] < waits[1] && waits[1] < waits[2], `${waits}`);
  const { code, message } = world.of('error')[0];
  assert.deepEqual([code, message], ['token_failed', 'the session has ended']);
  isBroken = false;
  await world.pass(world.state.retryInMs);
  assert.equal(world.shownToken, 'good');
});

test('a function that throws, or says nothing, has failed too', async () => {
  const thrown = new World({ token: () => { throw new Error('no'); } });
  await settled();
  assert.equal(thrown.state.reason, 'token_failed');
  const silent = new World({ token: () => new Promise(() => {}) });
  await silent.pass(14_999);
  assert.equal(silent.state.state, 'connecting');
  await silent.pass(1);
  assert.equal(silent.state.reason, 'token_failed');
  const left = new World({ token: () => new Promise(() => {}) });
  left.client.close();
  await left.pass(60_000);
  assert.deepEqual([left.state.state, left.sockets.length], ['closed', 0]);
});

test('who leaves while a token is asked for is not connected by it', async () => {
  let give;
  const world = new World({ token: () => new Promise((resolve) => { give = resolve; }) });
  world.window.dispatchEvent(new Event('pagehide'));
  assert.equal(world.state.reason, 'page_hidden');
  give('late');
  await settled();
  assert.equal(world.sockets.length, 0);
  world.window.dispatchEvent(new Event('pageshow'));
  give('good');
  await settled();
  assert.equal(world.shownToken, 'good');
});

test('a function is asked when its token ends soon, until it has another', async () => {
  const given = ['old', null, 'new'];
  const token = async () => given.shift() ?? Promise.reject(new Error('away'));
  const world = new World({ token });
  await settled();
  world.welcome(3);
  world.frame('expiring', { expires_in_ms: 60_000 });
  await settled();
  assert.deepEqual([world.of('error')[0]?.code, world.socket.sent], ['token_failed', []]);
  await world.pass(2_000);
  assert.deepEqual(world.socket.sent, [{ type: 'auth', data: { token: 'new' } }]);
  assert.equal(world.state.state, 'open');
});

test('where a function is asked, the end of a token is no end of the client', async () => {
  const given = ['old', 'new', 'none', 'neither'];
  const world = new World({ token: () => given.shift() });
  await settled();
  world.welcome(3);
  world.drop(4001, 'unauthorized');
  assert.equal(world.state.state, 'waiting');
  await world.reconnect();
  assert.equal(world.shownToken, 'new');
  // A hub that takes none of its tokens says so to the handshake, twice.
  world.answer = () => json({ code: 'unauthorized' }, { status: 401 });
  world.drop();
  await settled();
  assert.equal(world.state.state, 'waiting');
  await world.reconnect();
  world.drop();
  await settled();
  assert.deepEqual([world.state.state, world.state.reason], ['closed', 'unauthorized']);
});

test('a request before the first connection asks for a token too', async () => {
  const world = new World({ token: () => new Promise(() => {}) });
  world.client.close();
  world.client.token = async () => 't';
  world.answer = () => json({ data: [], has_more: false });
  await world.client.history();
  assert.equal(world.asked[0].headers.Authorization, 'Bearer t');
});

test('a token that is given beside the function is shown first, and then it is asked', async () => {
  const given = ['second', 'third'];
  const world = new World({ token: 'first', getToken: () => given.shift() });
  assert.equal(world.shownToken, 'first', 'at once');
  world.welcome(3);
  world.drop();
  await world.reconnect();
  assert.equal(world.shownToken, 'second');
  world.welcome(3);
  // Who sets one by hand is not asked for the next connection, but for the one after it.
  world.client.token = 'x'.repeat(600);
  world.drop(4001, 'unauthorized');
  await world.reconnect();
  assert.equal(world.shownToken.length, 600);
  world.welcome(3);
  world.drop(4001, 'unauthorized');
  await world.reconnect();
  assert.deepEqual([world.sockets.length, world.shownToken], [4, 'third']);
});

test('a token that is too old to begin with is replaced', async () => {
  const world = new World({ token: 'old', getToken: async () => 'new' });
  world.answer = (address, { headers }) => json({ code: 'unauthorized' }, {
    status: headers.Authorization === 'Bearer old' ? 401 : 500 });
  world.drop();
  await settled();
  assert.equal(world.state.state, 'waiting');
  await world.reconnect();
  assert.equal(world.shownToken, 'new');
  world.answer = () => json({ code: 'unauthorized' }, { status: 401 });
  world.drop();
  await settled();
  assert.deepEqual([world.state.state, world.state.reason], ['closed', 'unauthorized']);
});

test('a request that is refused asks for another token and is made again, once', async () => {
  let asked = 0;
  const world = new World({ getToken: () => `t${asked += 1}` });
  await settled();
  world.answer = (address, { headers }) => (headers.Authorization === 'Bearer t2'
    ? json({ users: [], members: 0, truncated: false })
    : json({ code: 'unauthorized' }, { status: 401 }));
  assert.equal((await world.client.presence()).members, 0);
  assert.equal(asked, 2);
  world.answer = () => json({ code: 'unauthorized' }, { status: 401 });
  await refused(world.client.history(), 'unauthorized');
  assert.equal(asked, 3);
});
