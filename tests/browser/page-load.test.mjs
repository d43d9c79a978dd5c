// The page in a space where thousands of messages are said: it keeps up, and can be used meanwhile.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { HUB_URL, PHONE, atTheEnd, join, newSpace, person, sees, shot, texts } from './page.mjs';
import { wait } from './support.mjs';

const SPEAKERS = 10;
const EACH = 500;
/** 400 messages a second: below what the hub allows an address and a connection. */
const PAUSE_MS = 25;

async function speaker(space, number) {
  const user = 1000 + number;
  const address = new URL(`/v1/ws/spaces/${space}?user_id=${user}&username=P${number}`, HUB_URL);
  const socket = new WebSocket(address.href.replace('http', 'ws'));
  await new Promise((resolve, reject) => {
    socket.on('open', resolve);
    socket.on('error', reject);
  });
  return socket;
}

async function speak(socket, number) {
  for (let n = 1; n <= EACH; n++) {
    const more = n % 20 === 0 ? ' https://example.org/ 😀 ñandú'.repeat(5) : '';
    const content = `${number} says ${n}${more}`;
    socket.send(JSON.stringify({ type: 'chat', data: { content } }));
    await wait(PAUSE_MS);
  }
}

/** Watches how long the page stands still. */
const watch = (page) => page.evaluate(() => {
  const seen = { longest: 0, blocked: 0, began: performance.now() };
  window.stalls = seen;
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) {
      seen.longest = Math.max(seen.longest, duration);
      seen.blocked += duration;
    }
  }).observe({ type: 'longtask' });
});

const said = (page) => page.evaluate(() => (
  [...document.querySelectorAll('#messages .text')].map((node) => node.textContent)));

test('5,000 messages in a few seconds leave the page smooth, bounded and in order', async (t) => {
  const space = newSpace();
  const [ana, beto] = [await person(t), await person(t, PHONE)];
  await join(ana, space, 'Ana Paz');
  await join(beto, space, 'Beto Rey');
  const sockets = [];
  for (let n = 0; n < SPEAKERS; n++) sockets.push(await speaker(space, n));
  t.after(() => sockets.forEach((socket) => socket.close()));
  await watch(ana);
  const speaking = Promise.all(sockets.map(speak));
  // Meanwhile a person writes, and another one reads back.
  await sees(beto, 'says 50');
  await beto.locator('#scroller').evaluate((node) => { node.scrollTop -= 300; });
  const reading = await beto.evaluate(() => {
    const { top, bottom } = document.querySelector('#scroller').getBoundingClientRect();
    const item = [...document.querySelectorAll('#messages .message')]
      .find((it) => it.getBoundingClientRect().top > top + 50);
    window.reading = item;
    return { top: item.getBoundingClientRect().top, bottom };
  });
  for (const word of ['hola', 'a', 'todos']) {
    await ana.locator('#draft').pressSequentially(word);
    await ana.keyboard.press('Enter');
  }
  await speaking;
  const last = `${SPEAKERS - 1} says ${EACH}`;
  await sees(ana, last);
  await atTheEnd(ana);
  const { longest, blocked, began } = await ana.evaluate(() => window.stalls);
  const took = await ana.evaluate((from) => performance.now() - from, began);
  const share = Math.round(100 * blocked / took);
  t.diagnostic(`longest task ${Math.round(longest)} ms; ${share} % of the time in long tasks`);
  assert.ok(blocked < took / 2, `blocked for ${blocked} of ${took} ms`);
  assert.ok(await ana.locator('#messages > li').count() <= 1_050);
  const shown = await texts(ana);
  for (let number = 0; number < SPEAKERS; number++) {
    const line = new RegExp(`^${number} says (\\d+)`);
    const own = shown.map((text) => line.exec(text)?.[1]).filter(Boolean);
    assert.equal(own.at(-1), String(EACH), `speaker ${number} was heard to the end`);
    const first = Number(own[0]);
    assert.deepEqual(own.map(Number), own.map((_, i) => first + i), `speaker ${number}`);
  }
  await shot(ana, 'load-desktop-light');

  // Who reads back was not moved, and is told how much has come.
  const moved = await beto.evaluate(() => (
    window.reading.isConnected ? window.reading.getBoundingClientRect().top : null));
  assert.ok(moved === null || Math.abs(moved - reading.top) < 2, `${reading.top} became ${moved}`);
  await beto.locator('#pill', { hasText: 'new messages' }).waitFor();
  await shot(beto, 'load-phone-light');
  await beto.locator('#pill').click();
  await atTheEnd(beto);
  await sees(beto, last);
  assert.equal((await said(beto)).at(-1), shown.at(-1));
});
