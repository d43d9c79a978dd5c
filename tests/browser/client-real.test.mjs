// client.js against the hub itself, over a network that fails: restarts, cuts, tokens that end,
// slow ways. Whoever listens must hear every message once and in order, and what is said is stored
// once. A failure names its seed; SEED=n runs that one alone.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { HubClient } from '../../src/console/client.js';
import { Proxy } from './proxy.mjs';
import { RealHub } from './real-hub.mjs';
import { randomOf, until, wait } from './support.mjs';

const SPACE = 1;
const [ANA, BETO, BOT] = [7, 8, 9];
const SEEDS = process.env.SEED ? [Number(process.env.SEED)] : [1, 2];
/** Clients come back after half a second, so that a test sees many losses. */
const SOON = { random: () => 0 };

/** Ana, who talks, Beto, who listens, each over a network of their own, and a bot beside them. */
class Company {
  said = [];
  sends = [];
  bots = 0;

  static async gather(t, hub, { tokens = {} } = {}) {
    const company = Object.assign(new Company(), { hub });
    for (const [name, userId] of [['ana', ANA], ['beto', BETO]]) {
      const proxy = await Proxy.start(t, hub.port);
      const client = new HubClient({
        url: proxy.url, spaceId: SPACE, userId, username: name, after: '0'.repeat(26),
        people: true, WebSocket, ...tokens[name],
      }, SOON);
      t.after(() => client.close());
      const told = { chat: [], gap: [], error: [], resumed: [], state: [], closing: [] };
      for (const [type, list] of Object.entries(told)) {
        client.addEventListener(type, ({ detail }) => list.push(detail));
      }
      client.connect();
      company[name] = { client, proxy, told };
      await until(`${name} is in`, () => client.state.state === 'open');
    }
    return company;
  }

  isIn() {
    return [this.ana, this.beto].every(({ client }) => client.state.state === 'open');
  }

  /** Ana says something; what becomes of it is awaited in the end. */
  say(content) {
    this.said.push(content);
    this.sends.push(this.ana.client.send(content, { ack: 'durable' }));
  }

  /** Somebody else does, at the hub itself; sent again with its key until the hub has it. */
  async post() {
    const content = `bot ${this.bots += 1}`;
    const key = content.replace(' ', '-');
    const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': key };
    if (this.hub.key) headers.Authorization = `Bearer ${this.hub.key}`;
    const body = JSON.stringify({ user_id: BOT, username: 'Bot', message: content });
    const address = new URL(`v1/ws/spaces/${SPACE}/chat`, this.hub.url);
    await until('the bot has spoken', async () => (
      fetch(address, { method: 'POST', headers, body }).then(({ ok }) => ok, () => false)));
  }

  /** Waits until all is well again, and holds what was heard against what the hub has stored. */
  async compare() {
    for (const { proxy } of [this.ana, this.beto]) proxy.heal();
    const results = await Promise.all(this.sends);
    const stored = [];
    const via = { url: this.hub.url, token: this.hub.key };
    for await (const message of HubClient.messages(SPACE, via)) stored.push(message);
    const own = stored.filter(({ user_id }) => user_id === ANA);
    assert.deepEqual(own.map(({ content }) => content), this.said, 'each is stored once, in order');
    assert.deepEqual(results.map(({ id }) => id), own.map(({ id }) => id));
    assert.equal(stored.length, this.said.length + this.bots);
    for (const { client, told } of [this.ana, this.beto]) {
      await until('everything is heard', () => client.position === stored.at(-1).id);
      assert.deepEqual(told.chat.map(({ id, content }) => [id, content]),
        stored.map(({ id, content }) => [id, content]), 'each is heard once, in order');
      assert.deepEqual(told.gap, []);
      await until('both know who is here', () => client.people.members === 2);
    }
    return stored.length;
  }
}

test('a restart, in order or by kill, takes no message and repeats none', async (t) => {
  const hub = await RealHub.start(t);
  const company = await Company.gather(t, hub);
  for (const signal of ['SIGTERM', 'SIGKILL', 'SIGTERM']) {
    for (let i = 0; i < 5; i++) company.say(`before ${signal} ${company.said.length}`);
    await company.post();
    const back = hub.restart(signal);
    for (let i = 0; i < 3; i++) company.say(`meanwhile ${company.said.length}`);
    await back;
    await company.post();
    await until('both are back', () => company.isIn());
    company.say(`after it ${'long '.repeat(150)}`);
  }
  await company.compare();
  const { closing, resumed } = company.beto.told;
  assert.deepEqual(closing.map(({ reason }) => reason), ['restart', 'restart']);
  assert.equal(resumed.length, 4, 'Beto has resumed at the begin and after each restart');
});

test('cuts anywhere, also of what is half sent, take no message and repeat none', async (t) => {
  const hub = await RealHub.start(t);
  const company = await Company.gather(t, hub);
  for (let round = 0; round < 6; round++) {
    for (let i = 0; i < 4; i++) company.say(`round ${round} message ${i}`);
    // In the midst of frames and of handshakes, for either of them.
    for (const { proxy } of [company.ana, company.beto]) {
      Object.assign(proxy, { pieceBytes: 40, pieceMs: 1 });
      const before = proxy.received;
      await until('some of it is through', () => proxy.received > before + 100 + round * 60);
      proxy.cut();
    }
    await company.post();
  }
  await company.compare();
  assert.ok(company.beto.told.state.filter(({ state }) => state === 'waiting').length >= 6);
});

test('a network that is silent though it looks open is found out and replaced', async (t) => {
  const hub = await RealHub.start(t);
  const company = await Company.gather(t, hub);
  company.say('heard');
  await company.sends[0];
  company.ana.proxy.isBlack = true;
  company.say('into the void');
  await until('Ana notices', () => company.ana.client.state.reason === 'no_answer');
  company.ana.proxy.cut();
  await company.post();
  await company.compare();
});

test('tokens that end, and one that is called back, end no conversation', async (t) => {
  const hub = await RealHub.start(t, { auth: true });
  // Ana's fit into a message and are renewed over the socket; Beto's come with a new connection.
  const asked = { ana: 0, beto: 0 };
  const getToken = (name, userId, padding) => async () => {
    asked[name] += 1;
    return hub.token(userId, 3, padding);
  };
  const company = await Company.gather(t, hub, { tokens: {
    ana: { token: hub.token(ANA, 2), getToken: getToken('ana', ANA, 0) },
    beto: { getToken: getToken('beto', BETO, 600) },
  } });
  const began = Date.now();
  for (let i = 0; Date.now() < began + 7_000; i++) {
    company.say(`at ${i}`);
    if (i % 5 === 0) await company.post();
    await wait(100);
  }
  const reasons = ({ told }) => told.state.filter(({ state }) => state === 'waiting')
    .map(({ reason }) => reason);
  assert.ok(asked.ana >= 2 && asked.beto >= 2, JSON.stringify(asked));
  assert.deepEqual([...new Set(reasons(company.beto))], ['unauthorized']);
  const lost = reasons(company.ana).length;
  // Tokens tell their second alone: what is made half a second after the call is called back too.
  await wait(1_020 - (Date.now() % 1_000));
  const revoked = await hub.ask('/v1/auth/revocations', {
    method: 'POST', body: JSON.stringify({ user_id: ANA }),
    headers: { Authorization: `Bearer ${hub.key}`, 'Content-Type': 'application/json' },
  });
  assert.equal(revoked.closed, 1);
  company.say('called back');
  await until('Ana was closed', () => reasons(company.ana).length > lost);
  await company.compare();
});

test('a slow way, and one that is too slow for the hub, take no message', async (t) => {
  const hub = await RealHub.start(t, { settings: {
    write_wait: '1s', send_buffer_bytes: '4KiB', log_bytes_max: '64KiB',
  } });
  const company = await Company.gather(t, hub);
  const { ana, beto } = company;
  Object.assign(ana.proxy, { delayMs: 60, pieceBytes: 200, pieceMs: 5 });
  Object.assign(beto.proxy, { delayMs: 200, pieceBytes: 100, pieceMs: 20 });
  for (let i = 0; i < 20; i++) company.say(`slowly ${i}`);
  await Promise.all(company.sends);
  beto.proxy.isBlack = true;
  const image = 'x'.repeat(1500);
  await until('the hub has given Beto up', async () => {
    await hub.ask(`/v1/ws/spaces/${SPACE}/chat`, {
      method: 'POST', headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ user_id: BOT, username: 'Bot', message: 'much', image }),
    });
    company.bots += 1;
    return (await hub.ask(`/v1/spaces/${SPACE}/presence`)).members === 1;
  });
  beto.proxy.heal();
  await company.compare();
  assert.ok(beto.told.resumed.length >= 2);
});

test('through bad days of every sort together, each message is there once', async (t) => {
  for (const seed of SEEDS) {
    const random = randomOf(seed);
    const hub = await RealHub.start(t);
    const company = await Company.gather(t, hub);
    for (let step = 0; step < 60; step++) {
      const dice = random();
      const { proxy, client } = random() < 0.5 ? company.ana : company.beto;
      if (dice < 0.4) company.say(`${step} ${random() < 0.2 ? 'ñ'.repeat(700) : ''}`);
      else if (dice < 0.55) await company.post();
      else if (dice < 0.65) proxy.cut();
      else if (dice < 0.7) proxy.isDown = true;
      else if (dice < 0.75) Object.assign(proxy, { pieceBytes: 150, pieceMs: 3, delayMs: 20 });
      else if (dice < 0.9) proxy.heal();
      else if (dice < 0.94) await hub.restart(random() < 0.5 ? 'SIGKILL' : 'SIGTERM');
      else await wait(random() * 300);
      if (client.state.state === 'waiting' && random() < 0.5) client.connect();
      // A client takes so many at once; who says more waits for an answer.
      if (company.sends.length % 20 === 19) {
        for (const each of [company.ana, company.beto]) each.proxy.heal();
        await Promise.all(company.sends);
      }
    }
    const stored = await company.compare().catch((error) => {
      throw new Error(`seed ${seed}: ${error.message}`, { cause: error });
    });
    t.diagnostic(`seed ${seed}: ${stored} messages`);
  }
});
