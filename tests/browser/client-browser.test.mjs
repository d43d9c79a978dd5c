// client.js in a browser against the hub itself: a page of another origin, with tokens that end,
// over a network that is slow and cut, through a restart.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { chromium } from 'playwright-core';
import { HubClient } from '../../src/console/client.js';
import { Proxy } from './proxy.mjs';
import { RealHub } from './real-hub.mjs';
import { until } from './support.mjs';

const { CHROMIUM = '/usr/bin/chromium' } = process.env;
const [SPACE, ANA] = [1, 7];
const skip = existsSync(CHROMIUM) ? false : 'there is no Chromium';

/** A page that takes the client from the hub, and tells all that it hears. */
const page = (url) => `<!doctype html><title>chat</title><script type="module">
  import { HubClient } from '${url}/client.js';
  const hub = new HubClient({
    spaceId: ${SPACE}, userId: ${ANA}, username: 'Ana', after: '0'.repeat(26), people: true,
    getToken: async () => (await fetch('/token')).text(),
  });
  const heard = [];
  const states = [];
  hub.addEventListener('chat', ({ detail }) => heard.push(detail.content));
  hub.addEventListener('state', ({ detail }) => states.push(detail.reason));
  hub.connect();
  Object.assign(window, { hub, heard, states, sends: [] });
</script>`;

test('in a browser bad days take no message, no address shows a token', { skip }, async (t) => {
  let asked = 0;
  let html = '';
  let hub;
  const site = createServer((request, response) => {
    if (request.url !== '/token') {
      return response.setHeader('Content-Type', 'text/html').end(html);
    }
    asked += 1;
    return response.end(`${hub.token(ANA, 3)}\n`);
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => { site.once('listening', resolve); });
  t.after(() => site.close());
  const origin = `http://localhost:${site.address().port}`;
  hub = await RealHub.start(t, { auth: true, settings: { origins: origin } });
  const proxy = await Proxy.start(t, hub.port);
  html = page(proxy.url);

  const browser = await chromium.launch({
    executablePath: CHROMIUM, args: ['--headless', '--no-sandbox', '--disable-gpu'],
  });
  t.after(() => browser.close());
  const tab = await browser.newPage();
  const addresses = [];
  const complaints = [];
  tab.on('pageerror', (error) => complaints.push(String(error)));
  tab.on('websocket', (socket) => addresses.push(socket.url()));
  tab.on('request', (request) => addresses.push(request.url()));
  await tab.goto(origin);
  const isOpen = () => tab.evaluate(() => window.hub?.state.state === 'open');
  await until('it is connected', isOpen);

  const said = [];
  const say = (content) => {
    said.push(content);
    return tab.evaluate((text) => {
      window.sends.push(window.hub.send(text, { ack: 'durable' }));
    }, content);
  };
  for (const trouble of ['cut', 'slow', 'restart', 'token']) {
    const before = asked;
    for (let i = 0; i < 4; i++) await say(`${trouble} ${i}`);
    if (trouble === 'cut') proxy.cut();
    if (trouble === 'slow') Object.assign(proxy, { delayMs: 50, pieceBytes: 100, pieceMs: 5 });
    if (trouble === 'restart') await hub.restart();
    if (trouble === 'token') await until('a token has ended', () => asked > before);
    await say(`after ${trouble} ${'ñ'.repeat(600)}`);
    await until('it is connected again', isOpen);
    proxy.heal();
  }
  const ids = await tab.evaluate(async () => (
    (await Promise.all(window.sends)).map(({ id }) => id)));
  const stored = [];
  for await (const message of HubClient.messages(SPACE, { url: hub.url, token: hub.key })) {
    stored.push(message);
  }
  assert.deepEqual(stored.map(({ content }) => content), said, 'stored once, in order');
  assert.deepEqual(stored.map(({ id }) => id), ids);
  await until('all is heard', async () => (
    (await tab.evaluate(() => window.hub.position)) === ids.at(-1)));
  assert.deepEqual(await tab.evaluate(() => window.heard), said, 'heard once, in order');
  assert.ok(addresses.filter((address) => address.startsWith('ws')).length >= 3);
  assert.ok(addresses.every((address) => !/eyJ|token=/.test(address)), 'no token in an address');
  assert.deepEqual(complaints, []);
});
