// What is done with messages: links, pictures, copies; by pointer, finger, keyboard and ear.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  DESKTOP, HUB_URL, PHONE, atTheEnd, connected, findings, join, newSpace, notices, person, post,
  postMany, say, sees, shot,
} from './page.mjs';

const OTHERS = { user_id: 9, username: 'Carla Gómez' };
const clipboard = (page) => page.evaluate(() => navigator.clipboard.readText());
const mayCopy = (page) => page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
const hovered = (page, text) => page.locator('#messages .text', { hasText: text }).hover();
const focused = (page) => page.evaluate(() => (
  document.activeElement.querySelector?.(':scope > .content .text')?.textContent
    ?? document.activeElement.id));
/** A grey picture of one pixel. */
const PIXEL = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNs+A8AAokBhYv'
  + 'NxFYAAAAASUVORK5CYII=', 'base64');

test('addresses become links to just what they say', async (t) => {
  const space = newSpace();
  const ana = await person(t);
  await join(ana, space, 'Ana Paz');
  await post(space, 'see https://en.example/Foo_(bar), (https://a.example/b?c=1&d=2#e) and '
    + 'http://plain.example. Not https://bank.example@evil.example/x, ftp://files.example, '
    + 'javascript:alert(1), data:text/html,x nor HTTPS alone; <https://quoted.example/> is',
  OTHERS);
  await post(space, 'https://аpple.example/ has a letter from elsewhere', OTHERS);
  await sees(ana, 'from elsewhere');
  const links = ana.locator('#messages .text a');
  assert.deepEqual(await links.allTextContents(), [
    'https://en.example/Foo_(bar)', 'https://a.example/b?c=1&d=2#e', 'http://plain.example',
    'https://quoted.example/', 'https://аpple.example/',
  ]);
  for (const link of await links.all()) {
    assert.equal(await link.getAttribute('rel'), 'noopener noreferrer nofollow');
    assert.equal(await link.getAttribute('target'), '_blank');
    assert.match(await link.getAttribute('href'), /^https?:/);
  }
  assert.match(await links.last().getAttribute('title'), /^https:\/\/xn--/);
});

test('a text, or a link to a message, is copied by pointer, finger and keyboard', async (t) => {
  const space = newSpace();
  const said = await post(space, 'to be copied https://example.org/', OTHERS);
  await post(space, 'another', OTHERS);
  const link = new URL(`/#space=${space}&message=${said.id}`, HUB_URL).href;
  const ana = await person(t);
  await mayCopy(ana);
  await join(ana, space, 'Ana Paz');
  await hovered(ana, 'to be copied');
  await ana.getByRole('button', { name: 'Copy text' }).click();
  await ana.locator('#toast', { hasText: 'Text copied' }).waitFor();
  assert.equal(await clipboard(ana), 'to be copied https://example.org/');
  await ana.getByRole('button', { name: 'Copy link to message' }).click();
  await ana.locator('#toast', { hasText: 'Link copied' }).waitFor();
  assert.equal(await clipboard(ana), link);
  assert.deepEqual(await findings(ana), []);
  await say(ana, 'an own one');
  await ana.locator('#messages [data-own][data-state="stored"]').waitFor();
  await hovered(ana, 'an own one');
  await shot(ana, 'actions-desktop-light');
  await ana.getByRole('button', { name: 'Copy text' }).click();
  await ana.waitForFunction(async () => await navigator.clipboard.readText() === 'an own one');

  const beto = await person(t, PHONE);
  await mayCopy(beto);
  await join(beto, space, 'Beto Rey');
  await beto.locator('#messages .text', { hasText: 'another' }).tap();
  await beto.locator('.actions[data-touch]').waitFor();
  await shot(beto, 'actions-phone-light');
  assert.deepEqual(await findings(beto), []);
  await beto.locator('#messages .text', { hasText: 'another' }).tap();
  await beto.locator('.actions').waitFor({ state: 'detached' });
  await beto.locator('#messages .meta').first().tap();
  await beto.getByRole('button', { name: 'Copy link to message' }).tap();
  assert.equal(await clipboard(beto), link);
});

test('the arrow keys go from message to message, and back to the draft', async (t) => {
  const space = newSpace();
  await postMany(space, 40);
  await post(space, `${'long\n'.repeat(60)}`, OTHERS);
  await post(space, 'the last', OTHERS);
  const ana = await person(t);
  await mayCopy(ana);
  await join(ana, space, 'Ana Paz');
  await sees(ana, 'the last');
  await ana.keyboard.press('ArrowUp');
  assert.equal(await focused(ana), 'the last');
  assert.match(await ana.evaluate(() => document.activeElement.getAttribute('aria-label')),
    /^\u2068Carla Gómez\u2069, .+: the last$/);
  await ana.keyboard.press('ArrowUp');
  assert.match(await focused(ana), /^long/);
  for (let i = 0; i < 30; i++) await ana.keyboard.press('ArrowUp');
  assert.equal(await focused(ana), 'line 11');
  const box = await ana.locator('#messages .message:focus').boundingBox();
  assert.ok(box.y > 50 && box.y + box.height < 740, 'what has the focus is in sight');
  await ana.keyboard.press('Tab');
  await ana.keyboard.press('Enter');
  await ana.waitForFunction(async () => await navigator.clipboard.readText() === 'line 11');
  await ana.keyboard.press('ArrowDown');
  assert.equal(await focused(ana), 'line 12');
  await shot(ana, 'keyboard-desktop-light');
  await ana.keyboard.press('Escape');
  assert.equal(await focused(ana), 'draft');
  await ana.locator('#scroller').focus();
  await ana.keyboard.type('x');
  assert.equal(await focused(ana), 'draft');
  assert.equal(await ana.locator('#draft').inputValue(), 'x', 'who types means the draft');
});

test('a screen reader hears single messages, and of many how many', async (t) => {
  const space = newSpace();
  const ana = await person(t);
  await join(ana, space, 'Ana Paz');
  await ana.evaluate(() => {
    window.heard = [];
    const live = document.querySelector('#live');
    new MutationObserver(() => { if (live.textContent) window.heard.push(live.textContent); })
      .observe(live, { childList: true, characterData: true, subtree: true });
  });
  assert.equal(await ana.locator('#scroller').getAttribute('role'), 'log');
  assert.equal(await ana.locator('#scroller').getAttribute('aria-live'), 'off');
  await say(ana, 'an own one');
  await sees(ana, 'an own one');
  await post(space, 'hola', OTHERS);
  await ana.waitForFunction(() => window.heard.length === 1);
  assert.deepEqual(await ana.evaluate(() => window.heard), ['\u2068Carla Gómez\u2069: hola']);
  const began = Date.now();
  for (let i = 0; i < 6; i++) {
    await Promise.all(Array.from({ length: 50 }, (_, n) => post(space, `flood ${i} ${n}`, OTHERS)));
  }
  await ana.waitForFunction(() => document.querySelectorAll('#messages .message').length === 302);
  await ana.waitForFunction(() => /new messages/.test(window.heard.at(-1)));
  const heard = await ana.evaluate(() => window.heard.slice(1));
  const most = 2 + (Date.now() - began) / 3_000;
  assert.ok(heard.length <= most, `${heard.length} announcements of 300 messages`);
  assert.ok(heard.every((words) => words.split('\n').length <= 2));
});

test('a crowd that comes and goes takes few lines', async (t) => {
  const space = newSpace();
  const ana = await person(t);
  await join(ana, space, 'Ana Paz');
  const { WebSocket } = await import('ws');
  const sockets = [];
  t.after(() => sockets.forEach((socket) => socket.close()));
  for (let n = 0; n < 40; n++) {
    const address = new URL(`/v1/ws/spaces/${space}?user_id=${50 + n}&username=P${n}`, HUB_URL);
    const socket = new WebSocket(address.href.replace('http', 'ws'));
    await new Promise((resolve) => { socket.on('open', resolve); });
    sockets.push(socket);
  }
  await notices(ana, 'P39 joined');
  assert.ok(await ana.locator('#messages .notice').count() <= 7);
  await notices(ana, '35 more came or left');
  await notices(ana, 'You joined as Ana Paz');
  await ana.locator('#people-find').fill('p1');
  await ana.waitForFunction(() => document.querySelectorAll('#people-list li').length === 11);
  await ana.locator('#people-find').fill('nobody');
  await ana.locator('#people-note', { hasText: 'Nobody here is called that' }).waitFor();
  await ana.locator('#people-find').fill('ANÁ');
  await ana.locator('#people-list li', { hasText: '(you)' }).waitFor();
});

test('a picture that is linked to is loaded when it is asked for, or always', async (t) => {
  const space = newSpace();
  const ana = await person(t);
  const asked = [];
  const serve = (page) => page.route('https://pictures.example/**', (route) => {
    asked.push({ url: route.request().url(), headers: route.request().headers() });
    if (route.request().url().includes('missing')) return route.fulfill({ status: 404, body: '' });
    return route.fulfill({ contentType: 'image/png', body: PIXEL });
  });
  await serve(ana);
  await join(ana, space, 'Ana Paz');
  await post(space, 'look: https://pictures.example/a.png?x=1 and http://pictures.example/b.png',
    OTHERS);
  await post(space, 'https://pictures.example/missing.jpeg', OTHERS);
  await postMany(space, 3, 'below');
  await sees(ana, 'below 3');
  assert.deepEqual(asked, [], 'nothing is asked of others unasked');
  await ana.locator('.picture-offer').first().click();
  await ana.locator('.picture img').waitFor();
  await ana.waitForFunction(() => document.querySelector('.picture img').naturalWidth === 1);
  assert.equal(asked.length, 1);
  assert.equal(asked[0].headers.referer, undefined);
  await atTheEnd(ana);
  await ana.locator('.picture-offer').click();
  await ana.locator('.picture[data-failed]', { hasText: 'can’t be shown' }).waitFor();
  await shot(ana, 'pictures-desktop-light');
  assert.deepEqual(await findings(ana), []);
  await ana.locator('#options-button').click();
  await ana.getByRole('switch', { name: 'Pictures from links' }).check();
  await ana.keyboard.press('Escape');
  await post(space, 'https://pictures.example/c.webp', OTHERS);
  await ana.waitForFunction(() => document.querySelectorAll('.picture img').length === 2);
  await atTheEnd(ana);
  ana.complaints.length = 0; // The picture that is missing, as intended.
});

test('a person’s own picture is shown to the others', async (t) => {
  const space = newSpace();
  const [ana, beto] = [await person(t), await person(t)];
  await beto.route('https://pictures.example/**', (route) => (
    route.fulfill({ contentType: 'image/png', body: PIXEL })));
  await join(beto, space, 'Beto Rey');
  await ana.goto(new URL('/', HUB_URL).href);
  await ana.getByLabel('Your name').fill('Ana Paz');
  await ana.getByLabel('Space number').fill(String(space));
  await ana.locator('#more summary').click();
  await ana.locator('#image').fill('http://pictures.example/ana.png');
  await ana.getByRole('button', { name: 'Join space' }).click();
  await ana.locator('#join-error', { hasText: 'must begin with https' }).waitFor();
  await ana.locator('#image').fill('https://pictures.example/ana.png');
  await ana.getByRole('button', { name: 'Join space' }).click();
  await connected(ana);
  await say(ana, 'with a face');
  await sees(beto, 'with a face');
  const picture = beto.locator('#messages .avatar img');
  assert.equal(await picture.getAttribute('src'), 'https://pictures.example/ana.png');
});

test('the ticks say how far a message has come', async (t) => {
  const space = newSpace();
  const ana = await person(t);
  await join(ana, space, 'Ana Paz');
  await say(ana, 'stored');
  await ana.locator('#messages [data-state="stored"]').waitFor();
  const spoken = (selector) => ana.locator(`${selector} .meta .sr-only`).textContent();
  assert.equal(await spoken('#messages [data-own]'), 'Stored');
  await ana.evaluate(() => window.cutOff(true));
  await say(ana, 'on its way');
  await ana.locator('#outbox [data-state="sending"]').waitFor();
  assert.equal(await spoken('#outbox [data-own]'), 'Sending');
  await shot(ana, 'ticks-desktop-light');
  const drawn = () => ana.locator('.tick path').evaluateAll((paths) => (
    paths.map((path) => path.getAttribute('d'))));
  assert.equal(new Set(await drawn()).size, 2, 'each state has a drawing of its own');
  ana.complaints.length = 0; // The handshakes that failed, as intended.
});

test('a few emoji alone are large, among words they are not', async (t) => {
  const space = newSpace();
  const ana = await person(t, { ...DESKTOP, colorScheme: 'dark' });
  await join(ana, space, 'Ana Paz');
  for (const text of ['👩‍👩‍👧‍👦 🇦🇷', '😀😀😀😀😀', 'ok 😀', '1', '#', '❤️']) {
    await post(space, text, OTHERS);
  }
  await sees(ana, '❤️');
  const large = await ana.locator('.bubble[data-emoji] .text').allTextContents();
  assert.deepEqual(large, ['👩‍👩‍👧‍👦 🇦🇷', '❤️']);
  await shot(ana, 'emoji-desktop-dark');
});

test('a keyboard on the screen leaves the draft and the last words in sight', async (t) => {
  const space = newSpace();
  await postMany(space, 40);
  const ana = await person(t, PHONE);
  await join(ana, space, 'Ana Paz');
  await sees(ana, 'line 40');
  const covered = (height) => ana.evaluate((left) => {
    Object.defineProperty(visualViewport, 'height', { configurable: true, get: () => left });
    visualViewport.dispatchEvent(new Event('resize'));
  }, height);
  await covered(420);
  await ana.waitForFunction(() => {
    const { bottom } = document.querySelector('#composer').getBoundingClientRect();
    return Math.abs(bottom - 420) < 2;
  });
  await atTheEnd(ana);
  // A draft of several lines, too, and each letter of it.
  for (const words of ['one\ntwo\nthree\nfour', ' and more', ' and still more']) {
    await ana.evaluate((more) => {
      const draft = document.querySelector('#draft');
      draft.value += more;
      draft.dispatchEvent(new Event('input', { bubbles: true }));
    }, words);
    await ana.evaluate(() => new Promise((resolve) => {
      requestAnimationFrame(() => requestAnimationFrame(resolve));
    }));
    await atTheEnd(ana);
  }
  await post(space, 'while a draft is long');
  await sees(ana, 'while a draft is long');
  await atTheEnd(ana);
  await ana.locator('#draft').fill('');
  await covered(740);
  await ana.waitForFunction(() => {
    const { bottom } = document.querySelector('#composer').getBoundingClientRect();
    return Math.abs(bottom - 740) < 2;
  });
  await atTheEnd(ana);
});
