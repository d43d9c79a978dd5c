// The connection of client.js: states, retries, probes, and what ends it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HubClient, SUBPROTOCOL, retryDelay } from '../../src/console/client.js';
import { World, idOf, json, refused, settled } from './world.mjs';

test('it connects to the space with the subprotocol and its identity', () => {
  const { socket } = new World({ token: ' a.b.c\n' });
  // In a header: an address is logged by whatever is on the way.
  assert.deepEqual(socket.protocols, [SUBPROTOCOL, 'token.a.b.c']);
  assert.equal(socket.url.origin, 'wss://hub.example');
  assert.equal(socket.url.pathname, '/v1/ws/spaces/1');
  const query = Object.fromEntries(socket.url.searchParams);
  assert.deepEqual(query, { user_id: '7', username: 'Ana Ñ' });
  assert.equal(new World().socket.protocols, SUBPROTOCOL);
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
  const after = world.socket.url.searchParams.get('after');
  assert.deepEqual([world.shownToken, after], ['new', idOf(3)]);
});

test('a token that ends is followed by the next one over the same socket', async () => {
  const world = new World({ token: 'old' });
  world.client.token = 'older';
  assert.deepEqual(world.socket.sent, [], 'nobody has welcomed it yet');
  world.welcome(3);
  const ends = [];
  world.client.addEventListener('expiring', ({ detail }) => {
    ends.push(detail.expires_in_ms);
    world.client.token = 'new';
  });
  world.frame('expiring', { expires_in_ms: 60_000 });
  assert.deepEqual(ends, [60_000]);
  assert.deepEqual(world.socket.sent, [{ type: 'auth', data: { token: 'new' } }]);
  // What is too long for a message comes with the next connection.
  world.client.token = 'x'.repeat(600);
  assert.equal(world.socket.sent.length, 1);
  world.drop(4001, 'unauthorized');
  world.client.connect();
  assert.equal(world.shownToken.length, 600);
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

test('without a network the connection is probed at once', async () => {
  const world = new World();
  world.welcome();
  world.window.dispatchEvent(new Event('offline'));
  assert.deepEqual(world.socket.sent, [{ type: 'ping' }]);
  await world.pass(2_000);
  assert.deepEqual([world.state.state, world.state.reason], ['waiting', 'no_answer']);
});

test('a hub on this very machine stays connected without a network', async () => {
  const world = new World();
  world.welcome();
  world.window.dispatchEvent(new Event('offline'));
  world.frame('pong', { message: 'pong' });
  await world.pass(30_000);
  assert.equal(world.state.state, 'open');
});

test('a send without an answer probes the connection, then gives it up', async () => {
  const world = new World();
  world.welcome();
  await world.pass(1_000);
  const sent = world.client.send('into the void');
  await world.pass(5_000);
  assert.deepEqual(world.socket.sent.map(({ type }) => type), ['chat', 'ping']);
  await world.pass(5_000);
  assert.deepEqual([world.state.state, world.state.reason], ['waiting', 'no_answer']);
  await world.reconnect();
  world.welcome(1);
  world.ack(world.socket.sent[0], 1);
  assert.equal((await sent).id, idOf(1));
});

test('a send that is answered in time probes nothing', async () => {
  const world = new World();
  world.welcome();
  for (let n = 1; n <= 10; n++) {
    const sent = world.client.send(`m${n}`);
    await world.pass(4_900);
    world.ack(world.socket.sent.at(-1), n);
    await sent;
  }
  await world.pass(5_000);
  assert.ok(world.socket.sent.every(({ type }) => type === 'chat'));
});

test('others that are heard are no answer for ever to a probe', async () => {
  const world = new World();
  world.welcome();
  world.client.send('does this arrive?').catch(() => {});
  for (let n = 1; n <= 20 && world.sockets.length === 1 && world.state.state === 'open'; n++) {
    await world.pass(1_000);
    world.chat(n);
  }
  assert.equal(world.state.reason, 'no_answer');
});

test('a hint from before the machine slept keeps nobody waiting', async () => {
  const world = new World();
  world.welcome();
  await world.pass(60_000);
  const said = { timestamp: world.hubTime };
  world.sleep(600_000);
  world.frame('closing', { code: 1012, reason: 'restart', retry_after_ms: 9_000 }, said);
  world.drop(1012, 'restart');
  assert.equal(world.state.state, 'waiting');
  world.window.dispatchEvent(new Event('online'));
  assert.equal(world.sockets.length, 2);
});

test('a hint that was slept through keeps nobody waiting', async () => {
  const world = new World();
  world.welcome();
  world.frame('closing', { code: 1013, reason: 'overloaded', retry_after_ms: 9_000 });
  world.drop(1013, 'overloaded');
  world.sleep(600_000);
  world.document.dispatchEvent(new Event('visibilitychange'));
  assert.equal(world.sockets.length, 2);
});

test('who was closed for silence and is back goes at once, whatever the hint', () => {
  for (const wake of [
    (world) => world.window.dispatchEvent(new Event('online')),
    (world) => world.document.dispatchEvent(new Event('visibilitychange')),
    (world) => world.client.connect(),
  ]) {
    const world = new World();
    world.welcome();
    world.frame('closing', { code: 4008, reason: 'pong_timeout', retry_after_ms: 9_000 });
    world.drop(4008, 'pong_timeout');
    assert.equal(world.state.retryInMs, 9_000);
    wake(world);
    assert.equal(world.sockets.length, 2);
  }
});

test('a handshake from before the machine slept is begun anew', () => {
  const world = new World();
  world.sleep(60_000);
  world.window.dispatchEvent(new Event('online'));
  assert.equal(world.sockets.length, 2);
  assert.equal(world.state.state, 'connecting');
});

test('a close that was told and then lost on its way is taken for done', async () => {
  const world = new World();
  world.welcome();
  world.frame('closing', { code: 4009, reason: 'kicked' });
  await world.pass(9_000);
  assert.equal(world.state.state, 'open');
  world.client.send('too late').catch(() => {});
  await world.pass(1_000);
  assert.deepEqual([world.state.state, world.state.reason, world.state.code],
    ['closed', 'kicked', 4009]);
});

test('a page that is left leaves the space, and is back with the page', async () => {
  const world = new World();
  world.welcome(3);
  const sent = world.client.send('on its way');
  world.window.dispatchEvent(new Event('pagehide'));
  assert.equal(world.socket.closedWith, 1000);
  assert.deepEqual([world.state.state, world.state.reason], ['waiting', 'page_hidden']);
  assert.equal(world.timers.size, 0);
  await world.pass(3_600_000);
  assert.equal(world.sockets.length, 1);
  world.window.dispatchEvent(new Event('pageshow'));
  assert.equal(world.sockets.length, 2);
  assert.equal(world.socket.url.searchParams.get('after'), idOf(3));
  world.welcome(3);
  sent.catch(() => {});
  world.client.close();
});

test('an error without a close ends an attempt, and a connection too', async () => {
  const world = new World();
  world.socket.onerror({});
  assert.equal(world.state.state, 'waiting');
  assert.ok(world.state.retryInMs <= 1_000);
  await world.reconnect();
  world.welcome();
  world.socket.onerror({});
  await world.pass(1_000);
  assert.equal(world.state.state, 'waiting');
});

test('a WebSocket and a fetch can be passed in', async () => {
  const opened = [];
  const asked = [];
  class Own {
    constructor(url) { opened.push(url); }
    close() {}
  }
  const client = new HubClient({
    url: 'https://hub.example', spaceId: 1, userId: 7, WebSocket: Own,
    fetch: async (address) => {
      asked.push(new URL(address).pathname);
      return json({ data: [], has_more: false });
    },
  });
  client.connect();
  assert.deepEqual(opened, ['wss://hub.example/v1/ws/spaces/1?user_id=7']);
  assert.deepEqual(await client.history({}), { messages: [], hasMore: false });
  assert.deepEqual(asked, ['/v1/spaces/1/messages']);
  client.close();
});

test('a clock that is set back hides no silence', async () => {
  const world = new World();
  world.welcome();
  await world.pass(30_000);
  world.now -= 3_600_000;
  await world.pass(24_000);
  assert.deepEqual(world.socket.sent, [{ type: 'ping' }]);
  await world.pass(10_000);
  assert.equal(world.state.reason, 'no_answer');
});

test('a clock that is set forward and back closes nothing that is alive', async () => {
  const world = new World();
  world.welcome();
  for (const jump of [86_400_000, -86_400_000, 3_600_000]) {
    world.now += jump;
    for (let i = 0; i < 4; i++) {
      await world.pass(30_000);
      const pings = world.socket.sent.length;
      if (pings) world.frame('pong', { message: 'pong' });
    }
  }
  assert.equal(world.sockets.length, 1);
  assert.equal(world.state.state, 'open');
});

test('what is sent in a listener that connects again is the new connection’s', async () => {
  const world = new World();
  world.welcome(2);
  const old = world.client.send('old');
  let fresh;
  world.client.addEventListener('state', ({ detail }) => {
    if (detail.state !== 'closed' || fresh) return;
    world.client.connect();
    fresh = world.client.send('fresh');
  });
  world.drop(4009, 'kicked');
  await refused(old, 'closed');
  world.welcome(2);
  world.ack(world.socket.sent.at(-1), 3);
  assert.equal((await fresh).id, idOf(3));
  assert.deepEqual(world.sockets[1].sent.map(({ data }) => data.content), ['fresh']);
});

test('a listener may close or connect at any state, and one socket at most is left', async () => {
  for (const wanted of ['connecting', 'open', 'waiting', 'closed']) {
    for (const act of ['close', 'connect']) {
      const world = new World();
      let acted = false;
      world.client.addEventListener('state', ({ detail }) => {
        if (detail.state !== wanted || acted) return;
        acted = true;
        world.client[act]();
      });
      world.drop();
      await world.pass(1_000);
      world.welcome();
      world.drop(4009, 'kicked');
      await world.pass(60_000);
      assert.ok(acted, `${act} at ${wanted}`);
      const open = world.sockets.filter(({ closedWith, onclose }) => !closedWith && onclose);
      assert.ok(open.length <= 1, `${act} at ${wanted}: ${open.length} sockets`);
      const again = act === 'connect' && wanted === 'closed';
      assert.equal(world.state.state === 'closed', !again, `${act} at ${wanted}`);
    }
  }
});

test('an origin that the hub refuses is told, not taken for a lost connection', async () => {
  const world = new World();
  world.answer = (address, { method = 'GET' }) => (method === 'GET'
    ? json({ code: 'invalid_upgrade', message: 'x' }, { status: 400 })
    : new Response(null, { status: 403 }));
  world.drop();
  await settled(60);
  assert.equal(world.asked.length, 1, 'a hub that is just back is not asked twice');
  await world.reconnect();
  world.drop();
  await settled(60);
  assert.deepEqual([world.state.state, world.state.reason], ['waiting', 'origin_refused']);
});

test('an address that is no hub’s is refused with what to do', () => {
  const at = (url) => () => new HubClient({ url, spaceId: 1, userId: 1 });
  assert.throws(at('file:///x'), /where the hub is/);
  assert.throws(at(''), /hub/);
});
