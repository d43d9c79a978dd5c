// The page at /docs: everything of the two documents is on it, it can be searched, and it needs
// nothing but the hub.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import axe from 'axe-core';
import { DESKTOP, HUB_URL, PHONE, person, shot } from './page.mjs';

const read = async (path) => (await fetch(new URL(path, HUB_URL))).json();

test('the contract shows each route, message, close and limit, and can be searched', async (t) => {
  const [http, sockets] = await Promise.all([read('/openapi.json'), read('/asyncapi.json')]);
  for (const [name, options] of [
    ['light', { ...DESKTOP, colorScheme: 'light' }], ['dark', { ...DESKTOP, colorScheme: 'dark' }],
    ['phone', PHONE],
  ]) {
    const ana = await person(t, options);
    await ana.goto(new URL('/docs', HUB_URL).href);
    await ana.locator('#contract:not([aria-busy])').waitFor();
    const text = await ana.locator('#contract').textContent();
    for (const [path, methods] of Object.entries(http.paths)) {
      for (const method of Object.keys(methods)) {
        assert.ok(text.includes(`${method.toUpperCase()} ${path}`), `${method} ${path}`);
      }
    }
    for (const { reason } of sockets['x-closes']) assert.ok(text.includes(reason), reason);
    for (const list of ['x-limits', 'x-conditions', 'x-request-headers']) {
      for (const name of Object.keys(http[list])) assert.ok(text.includes(name), name);
    }
    assert.match(text, /id: 01KB3ZQ8Z0000000000000000A\nevent: chat\ndata: \{"type":"chat"/);
    const messages = Object.keys(sockets.components.messages);
    assert.equal(await ana.locator('[id^="message-"]').count(), messages.length);
    await ana.getByLabel('Show only what has').fill('revocations');
    assert.equal(await ana.locator('[id="http-revoke"]').isVisible(), true);
    assert.equal(await ana.locator('[id="http-livez"]').isVisible(), false);
    await ana.getByLabel('Show only what has').fill('');
    await ana.evaluate(axe.source);
    const { violations } = await ana.evaluate(() => window.axe.run(document));
    const serious = violations.filter(({ impact }) => impact !== 'minor').map(({ id }) => id);
    assert.deepEqual(serious, [], name);
    await shot(ana, `docs-${name}`);
    await ana.close();
  }
});
