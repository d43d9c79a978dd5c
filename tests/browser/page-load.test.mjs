// The page in a space where thousands of messages are said: it keeps up, and can be used meanwhile.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { HUB_URL, PHONE, atTheEnd, join, newSpace, person, shot, texts } from './page.mjs';
import { wait } from './support.mjs';

const SPEAKERS = 10;
const EACH = 500;
/** So many of each are said before the page's time is first taken. */
const FIRST = EACH / 4;
/** 200 messages a second. */
const PAUSE_MS = 50;

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

async function speak(socket, number, from, to) {
  for (let n = from; n <= to; n++) {
    const more = n % 20 === 0 ? ' https://example.org/ 😀 ñandú'.repeat(5) : '';
    const content = `${number} says ${n}${more}`;
    socket.send(JSON.stringify({ type: 'chat', data: { content } }));
    await wait(PAUSE_MS);
  }
}

/** Processor time of the page's own thread, in seconds: other work on the machine is not in it. */
async function meter(page) {
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable', { timeDomain: 'threadTicks' });
  return async () => {
    const { metrics } = await session.send('Performance.getMetrics');
    return metrics.find(({ name }) => name === 'TaskDuration').value;
  };
}

/** The machine may have other work. */
const PATIENCE = { timeout: 60_000 };

test('5,000 messages in half a minute leave the page smooth, bounded and in order', async (t) => {
  const space = newSpace();
  const [ana, beto] = [await person(t), await person(t, PHONE)];
  await join(ana, space, 'Ana Paz');
  await join(beto, space, 'Beto Rey');
  const sockets = [];
  for (let n = 0; n < SPEAKERS; n++) sockets.push(await speaker(space, n));
  t.after(() => sockets.forEach((socket) => socket.close()));
  const processorTime = await meter(ana);
  const atFirst = await processorTime();
  const speaking = (from, to) => Promise.all(sockets.map((it, n) => speak(it, n, from, to)));
  const hears = (page, n) => page.locator('#messages .text',
    { hasText: `${SPEAKERS - 1} says ${n}` }).last().waitFor(PATIENCE);
  await speaking(1, FIRST);
  for (const page of [ana, beto]) await hears(page, FIRST);
  await atTheEnd(beto);
  const quarter = await processorTime();
  const spoken = speaking(FIRST + 1, EACH);
  // Meanwhile a person writes, and another one reads back.
  await beto.locator('#scroller').evaluate((node) => { node.scrollTop -= 300; });
  const reading = await beto.evaluate(() => {
    const { top } = document.querySelector('#scroller').getBoundingClientRect();
    const item = [...document.querySelectorAll('#messages .message')]
      .find((it) => it.getBoundingClientRect().top > top + 50);
    window.reading = item;
    return { top: item.getBoundingClientRect().top };
  });
  for (const word of ['hola', 'a', 'todos']) {
    await ana.locator('#draft').pressSequentially(word, PATIENCE);
    await ana.keyboard.press('Enter');
  }
  await spoken;
  await hears(ana, EACH);
  await atTheEnd(ana);
  const [early, late] = [quarter - atFirst, (await processorTime() - quarter) / 3];
  const ms = (seconds) => (seconds / (SPEAKERS * FIRST) * 1000).toFixed(1);
  t.diagnostic(`the first messages took ${ms(early)} ms each, the later ones ${ms(late)}`);
  assert.ok(late < early * 2, 'a long conversation costs no more than a short one');
  assert.ok(await ana.locator('#messages > li').count() <= 450);
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
  await hears(beto, EACH);
  assert.equal((await texts(beto)).at(-1), shown.at(-1));
});
