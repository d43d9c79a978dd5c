// The page through bad moments: bursts, reloads, shared links, silence, sleep and the way back.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer as createHttp } from 'node:http';
import { connect, createServer } from 'node:net';
import { test } from 'node:test';
import {
  DESKTOP, HUB_URL, atTheEnd, connected, join, newSpace, notices, person, post, postMany, say,
  sees, texts,
} from './page.mjs';
import { until } from './support.mjs';

const noticesOf = (page) => page.locator('#messages .notice').allTextContents();
const present = async (space) => {
  const answer = await fetch(new URL(`/v1/spaces/${space}/presence`, HUB_URL));
  return (await answer.json()).users.map(({ username }) => username).sort();
};
test('a reader at the end stays there through bursts, and leaves it by scrolling up', async (t) => {
  const space = newSpace();
  await postMany(space, 40);
  const ana = await person(t);
  await join(ana, space, 'Ana Paz');
  for (let burst = 1; burst <= 15; burst++) {
    await Promise.all([1, 2, 3].map((n) => post(space, `burst ${burst}.${n}`)));
    await sees(ana, `burst ${burst}.3`);
    await atTheEnd(ana);
    assert.ok(await ana.locator('#pill').isHidden(), `burst ${burst}`);
  }
  await say(ana, 'an own one');
  await sees(ana, 'an own one');
  await atTheEnd(ana);
  await ana.locator('#scroller').hover();
  await ana.mouse.wheel(0, -120);
  await ana.waitForFunction(() => {
    const { scrollHeight, clientHeight, scrollTop } = document.querySelector('#scroller');
    return scrollHeight - clientHeight - scrollTop > 20;
  });
  await post(space, 'unseen');
  await ana.locator('#pill', { hasText: '1 new message' }).waitFor();
  await ana.locator('#scroller').focus();
  await ana.keyboard.press('End');
  await ana.locator('#pill').waitFor({ state: 'hidden' });
  await post(space, 'seen at once');
  await sees(ana, 'seen at once');
  await atTheEnd(ana);
});

test('reloads and cuts in a quiet space tell nobody anything twice', async (t) => {
  const space = newSpace();
  const [ana, beto] = [await person(t), await person(t)];
  await join(beto, space, 'Beto Rey');
  await say(beto, 'the last word for a while');
  await join(ana, space, 'Ana Paz');
  for (let i = 0; i < 4; i++) {
    await ana.reload();
    await connected(ana);
    await notices(ana, 'You joined as Ana Paz');
  }
  for (let cut = 0; cut < 5; cut++) {
    await ana.evaluate(() => window.cutOff(true));
    await ana.locator('#status:not([data-state="open"])').waitFor();
    await ana.evaluate(() => {
      window.cutOff(false);
      window.dispatchEvent(new Event('online'));
    });
    await connected(ana);
  }
  await say(beto, 'still here?');
  await sees(ana, 'still here?');
  assert.deepEqual(await noticesOf(ana), ['You joined as Ana Paz']);
  await ana.waitForFunction(() => document.querySelector('#people-count').textContent === '2');
  ana.complaints.length = 0; // The handshakes that failed, as intended.
});

test('the address of a space is nobody’s: who follows it is asked for a name', async (t) => {
  const space = newSpace();
  const ana = await person(t);
  await ana.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  const own = `/?space=${space}&user_id=7&username=Ana%20%C3%91&token=secret`;
  await ana.goto(new URL(own, HUB_URL).href);
  await connected(ana);
  const address = new URL(`/#space=${space}`, HUB_URL).href;
  assert.equal(ana.url(), address);
  await ana.getByRole('button', { name: 'Copy link' }).click();
  await ana.locator('#toast', { hasText: 'Link copied' }).waitFor();
  assert.equal(await ana.evaluate(() => navigator.clipboard.readText()), address);
  const beto = await person(t);
  await beto.goto(address);
  await beto.locator('#join-form').waitFor();
  assert.equal(await beto.getByLabel('Space number').inputValue(), String(space));
  assert.equal(await beto.getByLabel('Your name').inputValue(), '');
  await beto.getByLabel('Your name').fill('Beto Rey');
  await beto.getByRole('button', { name: 'Join space' }).click();
  await connected(beto);
  await notices(ana, 'Beto Rey joined');
  assert.deepEqual(await present(space), ['Ana Ñ', 'Beto Rey']);
  await ana.reload();
  await connected(ana);
  await until('she is back as herself', async () => (await present(space)).includes('Ana Ñ'));
  await ana.locator('#people-list [data-user-id="7"]').waitFor();
});

/** A way to the hub that can be made to swallow all. */
async function deafWay(t) {
  const { hostname, port } = new URL(HUB_URL);
  let deaf = false;
  const sockets = new Set();
  const server = createServer((near) => {
    const far = connect(Number(port), hostname);
    for (const [from, to] of [[near, far], [far, near]]) {
      sockets.add(from);
      from.on('data', (bytes) => { if (!deaf) to.write(bytes); });
      from.on('error', () => to.destroy());
      from.on('close', () => to.destroy());
    }
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    set deaf(is) { deaf = is; },
  };
}

test('a way that swallows all is noticed within seconds, and nothing is lost', async (t) => {
  const space = newSpace();
  const ana = await person(t);
  const way = await deafWay(t);
  await ana.goto(`${way.url}/?space=${space}&username=Ana`);
  await connected(ana);
  await say(ana, 'before');
  await sees(ana, 'before');
  way.deaf = true;
  const began = Date.now();
  await say(ana, 'into the void');
  await ana.locator('#banner', { hasText: 'The hub doesn’t answer' }).waitFor();
  assert.ok(Date.now() - began < 14_000, `after ${Date.now() - began} ms`);
  way.deaf = false;
  await ana.getByRole('button', { name: 'Retry now' }).click();
  await ana.locator('#messages [data-state="stored"]', { hasText: 'into the void' }).waitFor();
  assert.deepEqual(await texts(ana), ['before', 'into the void']);
  ana.complaints.length = 0; // What was asked into the void, as intended.
});

test('offline, the page says so within seconds', async (t) => {
  const space = newSpace();
  const ana = await person(t);
  const way = await deafWay(t);
  await ana.goto(`${way.url}/?space=${space}&username=Ana`);
  await connected(ana);
  way.deaf = true;
  const began = Date.now();
  await ana.context().setOffline(true);
  await ana.locator('#banner', { hasText: 'You are offline' }).waitFor();
  assert.ok(Date.now() - began < 8_000, `after ${Date.now() - began} ms`);
  way.deaf = false;
  await ana.context().setOffline(false);
  await connected(ana);
  await ana.locator('#banner').waitFor({ state: 'hidden' });
  ana.complaints.length = 0; // What was asked offline, as intended.
});

test('who goes to another page leaves the space, and is back with the way back', async (t) => {
  const space = newSpace();
  const [ana, beto] = [await person(t), await person(t)];
  await join(ana, space, 'Ana Paz');
  await join(beto, space, 'Beto Rey');
  await say(ana, 'one');
  await sees(beto, 'one');
  await ana.goto(new URL('/livez', HUB_URL).href);
  await notices(beto, 'Ana Paz left');
  assert.deepEqual(await present(space), ['Beto Rey']);
  await post(space, 'two');
  await ana.goBack();
  await connected(ana);
  await sees(ana, 'two');
  assert.deepEqual(await texts(ana), ['one', 'two']);
  await until('both are here', async () => (await present(space)).length === 2);
  ana.complaints.length = 0; // The other page has no icon.
});

test('a page that the browser keeps is out of the space until it is shown again', async (t) => {
  const space = newSpace();
  const ana = await person(t);
  await join(ana, space, 'Ana Paz');
  await ana.evaluate(() => dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true })));
  await until('she is gone', async () => (await present(space)).length === 0);
  await post(space, 'meanwhile');
  await ana.evaluate(() => dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })));
  await connected(ana);
  await sees(ana, 'meanwhile');
  assert.ok(await ana.locator('#banner').isHidden());
});

test('a space of hundreds shows how many, and the list when they are fewer', async (t) => {
  const space = newSpace();
  const sockets = [];
  t.after(() => sockets.forEach((socket) => socket.close()));
  const { WebSocket } = await import('ws');
  const enter = (n) => new Promise((resolve, reject) => {
    const address = new URL(`/v1/ws/spaces/${space}?user_id=${1000 + n}&username=P${n}`, HUB_URL);
    const socket = new WebSocket(address.href.replace('http', 'ws'));
    socket.on('open', () => resolve(socket));
    socket.on('error', reject);
  });
  const ana = await person(t);
  for (let n = 0; n < 620; n++) sockets.push(await enter(n));
  await join(ana, space, 'Ana Paz');
  await ana.waitForFunction(() => document.querySelector('#people-count').textContent === '621');
  await ana.locator('#people-note', { hasText: 'only their number' }).waitFor();
  for (const socket of sockets.splice(0, 240)) socket.close();
  await ana.waitForFunction(() => document.querySelector('#people-count').textContent === '381');
  sockets.push(await enter(9999));
  await ana.waitForFunction(() => document.querySelector('#people-count').textContent === '382');
  await ana.waitForFunction(() => document.querySelectorAll('#people-list li').length === 382);
});

test('a page of an origin that the hub refuses is told so', async (t) => {
  const server = createHttp((request, response) => {
    const file = new URL(`../../src/console${request.url}`, import.meta.url);
    const script = request.url.endsWith('.js');
    response.writeHead(200, { 'Content-Type': script ? 'text/javascript' : 'text/html' });
    response.end(script ? readFileSync(file) : '<!doctype html><title>another page</title>');
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  t.after(() => server.closeAllConnections());
  t.after(() => server.close());
  const ana = await person(t);
  await ana.goto(`http://127.0.0.1:${server.address().port}/`);
  const reason = await ana.evaluate(async (url) => {
    const { HubClient } = await import('/client.js');
    const hub = new HubClient({ url, spaceId: 1, userId: 7 });
    const told = new Promise((resolve) => {
      hub.addEventListener('state', ({ detail }) => {
        if (detail.reason === 'origin_refused') resolve(detail.reason);
      });
    });
    hub.connect();
    return told;
  }, HUB_URL);
  assert.equal(reason, 'origin_refused');
  await ana.close();
  ana.complaints.length = 0; // What the browser says of refused requests, as intended.
});
