// A browser's own EventSource on a stream of events, through connections that are cut.
import assert from 'node:assert/strict';
import { connect, createServer } from 'node:net';
import { test } from 'node:test';
import { HUB_URL, newSpace, person, post } from './page.mjs';
import { until } from './support.mjs';

/** A way to the hub whose connections can be cut, at a byte of the test's choice. */
async function way(t) {
  const open = new Set();
  const server = createServer((client) => {
    const hub = connect(Number(new URL(HUB_URL).port), '127.0.0.1');
    for (const socket of [client, hub]) {
      open.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        open.delete(socket);
        client.destroy();
        hub.destroy();
      });
    }
    client.pipe(hub).pipe(client);
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  t.after(() => server.close());
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    cut: () => { for (const socket of open) socket.destroy(); },
  };
}

test('an EventSource gets every message once and in order through cuts, by itself', async (t) => {
  const space = newSpace();
  const { url, cut } = await way(t);
  const page = await person(t);
  // What the browser says of a connection that was cut.
  page.on('console', () => { page.complaints.length = 0; });
  await page.goto(`${url}/livez`);
  await page.evaluate((number) => {
    window.told = [];
    window.source = new EventSource(`/v1/spaces/${number}/events?user_id=7&username=Ana`);
    for (const name of ['welcome', 'join', 'leave', 'chat', 'resumed', 'closing']) {
      window.source.addEventListener(name, ({ data, lastEventId }) => {
        window.told.push({ name, lastEventId, ...JSON.parse(data) });
      });
    }
  }, space);
  const told = (name) => page.evaluate(
    (wanted) => window.told.filter((event) => event.name === wanted), name);
  await until('it is welcome', async () => (await told('join')).length === 1);
  const said = [];
  for (let turn = 0; turn < 3; turn++) {
    for (let n = 0; n < 5; n++) {
      said.push(`${turn}.${n}`);
      await post(space, said.at(-1));
    }
    await until('it has heard', async () => (await told('chat')).length === said.length);
    cut();
    // It comes back within five seconds; until then nobody is there.
    for (let n = 5; n < 8; n++) {
      said.push(`${turn}.${n}`);
      await post(space, said.at(-1));
    }
    await until('it is back', async () => (await told('resumed')).length === turn + 1);
  }
  const chats = await told('chat');
  assert.deepEqual(chats.map(({ data }) => data.content), said);
  assert.ok(chats.every(({ data, lastEventId }) => data.id === lastEventId));
  const resumed = await told('resumed');
  assert.ok(resumed.every(({ data }) => data.complete && data.count === 3), 'nothing is missing');
  const [kicked] = await Promise.all([
    fetch(new URL(`/v1/spaces/${space}/members/7`, HUB_URL), { method: 'DELETE' }),
    until('it is told', async () => (await told('closing')).length === 1),
  ]);
  assert.deepEqual(await kicked.json(), { closed: 1 });
  await page.evaluate(() => window.source.close());
});
