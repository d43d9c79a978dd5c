// client.js against the hub itself, as the page uses it: cut at random places while others come, go
// and talk. A failure names its seed; SEED=n runs that one alone.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { HubClient } from '../../src/console/client.js';
import { randomOf, until, wait } from './support.mjs';

const { HUB_URL, SEED } = process.env;
const SEEDS = SEED ? [Number(SEED)] : [1, 2, 3];
const NOWHERE = '0'.repeat(26);

/** A client whose connection can be cut, and all that it told. */
function cuttable(space, userId) {
  let last = null;
  class Cuttable extends WebSocket {
    constructor(...all) {
      super(...all);
      last = this;
    }
  }
  const client = new HubClient({
    url: HUB_URL, spaceId: space, userId, username: 'Ana', after: NOWHERE, people: true,
    WebSocket: Cuttable,
  });
  const told = [];
  for (const type of ['chat', 'join', 'leave', 'gap', 'error']) {
    client.addEventListener(type, ({ detail }) => told.push({ type, ...detail }));
  }
  client.connect();
  return { client, told, cut: () => last.terminate() };
}

function enter(space, user) {
  const address = new URL(`/v1/ws/spaces/${space}?user_id=${user}&username=P${user}`, HUB_URL);
  const socket = new WebSocket(address.href.replace('http', 'ws'));
  socket.on('error', () => {});
  return new Promise((resolve) => { socket.on('open', () => resolve(socket)); });
}

async function live({ client, cut }, space, random) {
  const others = [];
  const sends = [];
  for (let step = 0; step < 60; step++) {
    const dice = random();
    if (dice < 0.2) others.push(await enter(space, 10 + Math.floor(random() * 5)));
    else if (dice < 0.35) others.splice(0, 1)[0]?.close();
    else if (dice < 0.5) others[0]?.send(`{"type":"chat","data":{"content":"other ${step}"}}`);
    else if (dice < 0.65) sends.push(client.send(`own ${step}`, { ack: 'durable' }));
    else if (dice < 0.72) sends.push(client.send(`own ${step} ${'ñ'.repeat(700)}`));
    else if (dice < 0.85) cut();
    else await wait(random() * 200);
    if (client.state.state === 'waiting' && random() < 0.7) client.connect();
  }
  return { others, sends };
}

test('through random cuts client.js tells what the hub holds, once and in order', async (t) => {
  for (const seed of SEEDS) {
    const space = Math.floor(1e6 + Math.random() * 2e9);
    const ana = cuttable(space, 7);
    t.after(() => ana.client.close());
    const { others, sends } = await live(ana, space, randomOf(seed));
    t.after(() => others.forEach((socket) => socket.close()));
    await Promise.all(sends);
    await until('the client is at rest', () => ana.client.state.state === 'open');

    let stored = [];
    await until(`SEED=${seed}: all is stored and told`, async () => {
      stored = (await ana.client.history({ limit: 100 })).messages.map(({ id }) => id);
      return stored.length === ana.told.filter(({ type }) => type === 'chat').length;
    });
    const chats = ana.told.filter(({ type }) => type === 'chat');
    assert.deepEqual(chats.map(({ id }) => id), stored, `SEED=${seed}`);
    const own = chats.map(({ content }) => /^own (\d+)/.exec(content)?.[1]).filter(Boolean);
    assert.equal(own.length, sends.length, `SEED=${seed}: each send once`);
    assert.deepEqual(own, [...own].sort((a, b) => a - b), `SEED=${seed}: own order`);
    const moves = ana.told.filter(({ type }) => type === 'join' || type === 'leave')
      .map(({ type, user_id, timestamp }) => `${type} ${user_id} ${timestamp}`);
    assert.equal(new Set(moves).size, moves.length, `SEED=${seed}: a join or leave came twice`);
    await until(`SEED=${seed}: who is here`, async () => {
      const { users } = await ana.client.presence();
      const byId = (list) => JSON.stringify([...list].sort((a, b) => a.user_id - b.user_id));
      return byId(ana.client.people.users ?? []) === byId(users);
    });
  }
});
