// How the page looks and behaves to everybody: axe in all colours and sizes, the keyboard alone,
// odd names and texts, two languages, days that go on. Pictures are kept for people to look at.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  DESKTOP, HUB_URL, PHONE, connected, findings, join, newSpace, notices, person, post, postMany,
  say, sees, shot, texts,
} from './page.mjs';

const OTHERS = { user_id: 9, username: 'Carla Gómez' };

test('axe finds nothing serious or moderate, in any colours, on any screen', async (t) => {
  const space = newSpace();
  await post(space, 'Something from before, with a picture of nobody', OTHERS);
  await post(space, 'line\n'.repeat(60), OTHERS);
  for (const [name, options] of [
    ['light', { ...DESKTOP, colorScheme: 'light' }], ['dark', { ...DESKTOP, colorScheme: 'dark' }],
    ['forced', { ...DESKTOP, forcedColors: 'active' }], ['phone', PHONE],
    ['phone-dark', { ...PHONE, colorScheme: 'dark' }],
  ]) {
    const ana = await person(t, options);
    await ana.goto(new URL('/', HUB_URL).href);
    await ana.locator('#join-form').waitFor();
    await ana.locator('#more summary').click();
    assert.deepEqual(await findings(ana), [], `${name}: the join form`);
    await join(ana, space, 'Ana Paz');
    await say(ana, `hello from ${name}`);
    await ana.locator('#messages [data-own][data-state="stored"]').waitFor();
    await ana.getByLabel('Message', { exact: true }).fill('ñ'.repeat(1100));
    await ana.keyboard.press('Enter');
    await ana.locator('#composer-error').waitFor();
    assert.deepEqual(await findings(ana), [], `${name}: the conversation`);
    await ana.getByLabel('Message', { exact: true }).fill('');
    if (options === PHONE || name === 'phone-dark') {
      await ana.locator('#people-button').click();
      await ana.locator('#people-list li').first().waitFor();
      assert.deepEqual(await findings(ana), [], `${name}: the people`);
      await ana.keyboard.press('Escape');
    }
    await ana.evaluate(() => window.cutOff(true));
    await ana.locator('#banner').waitFor();
    await say(ana, 'on its way');
    await ana.locator('#outbox [data-state="sending"]').waitFor();
    assert.deepEqual(await findings(ana), [], `${name}: no connection`);
    await shot(ana, `axe-${name}`);
    await ana.close();
    ana.complaints.length = 0; // The handshakes that failed, as intended.
  }
});

/** WCAG's contrast of two colours, each [red, green, blue] from 0 to 255. */
function contrast(...colours) {
  const [dark, light] = colours.map((colour) => {
    const [r, g, b] = colour.map((c) => (c / 255 <= 0.03928 ? c / 255 / 12.92
      : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }).sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

test('whatever colour a person gets, it can be read', async (t) => {
  const space = newSpace();
  await post(space, 'hola', OTHERS);
  for (const colorScheme of ['light', 'dark']) {
    const ana = await person(t, { ...DESKTOP, colorScheme });
    await join(ana, space, 'Ana Paz');
    await sees(ana, 'hola');
    const found = await ana.evaluate(() => {
      const [avatar, author] = ['.avatar', '.author'].map((name) => document.querySelector(name));
      const numbers = (text) => text.match(/[\d.]+/g).slice(0, 3).map(Number);
      const page = numbers(getComputedStyle(document.querySelector('.chat')).backgroundColor);
      return Array.from({ length: 360 }, (_, hue) => {
        for (const node of [avatar, author]) node.style.setProperty('--hue', hue);
        const { color, backgroundColor } = getComputedStyle(avatar);
        return [[numbers(color), numbers(backgroundColor)],
          [numbers(getComputedStyle(author).color), page]];
      });
    });
    for (const [hue, pairs] of found.entries()) {
      for (const pair of pairs) {
        assert.ok(contrast(...pair) >= 4.5, `${colorScheme} ${hue}: ${contrast(...pair)}`);
      }
    }
  }
});

const focused = (page) => page.evaluate(() => document.activeElement.id);

test('on a phone the people are a dialog, which keeps the focus and gives it back', async (t) => {
  const ana = await person(t, PHONE);
  await join(ana, newSpace(), 'Ana Paz');
  const button = ana.locator('#people-button');
  await button.focus();
  await ana.keyboard.press('Enter');
  const dialog = ana.getByRole('dialog', { name: 'People' });
  await dialog.waitFor();
  assert.equal(await button.getAttribute('aria-expanded'), 'true');
  for (let i = 0; i < 6; i++) {
    const inside = await ana.evaluate(() => document.activeElement === document.body
      || document.querySelector('#people').contains(document.activeElement));
    assert.ok(inside, `after ${i} steps the focus is inside`);
    await ana.keyboard.press('Tab');
  }
  await ana.keyboard.press('Escape');
  await dialog.waitFor({ state: 'hidden' });
  assert.equal(await focused(ana), 'people-button');
  assert.equal(await button.getAttribute('aria-expanded'), 'false');
  await button.click();
  await dialog.waitFor();
  await ana.mouse.click(20, 400);
  await dialog.waitFor({ state: 'hidden' });
});

test('the keyboard alone goes everywhere, and one sees where it is', async (t) => {
  const space = newSpace();
  await post(space, 'line\n'.repeat(60), OTHERS);
  const ana = await person(t);
  await ana.goto(new URL(`/#space=${space}`, HUB_URL).href);
  await ana.locator('#username').focus();
  await ana.keyboard.type('Ana Paz');
  await ana.keyboard.press('Enter');
  await connected(ana);
  await sees(ana, 'line');
  assert.equal(await focused(ana), 'draft');
  const reached = new Set();
  for (let i = 0; i < 12; i++) {
    await ana.keyboard.press('Shift+Tab');
    const [id, seen] = await ana.evaluate(() => {
      const node = document.activeElement;
      const shown = node.id === 'draft' ? node.parentElement : node;
      const { outlineStyle, outlineWidth } = getComputedStyle(shown);
      return [node.id || node.className, outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2];
    });
    if (id) reached.add(id);
    if (id) assert.ok(seen, `${id} shows that it has the focus`);
  }
  for (const id of ['scroller', 'fold', 'leave-button', 'people-button', 'copy-button']) {
    assert.ok(reached.has(id), `${id}: ${[...reached]}`);
  }
  await ana.locator('.fold').focus();
  await ana.keyboard.press('Enter');
  assert.equal(await ana.locator('.fold').getAttribute('aria-expanded'), 'true');
  await ana.locator('#leave-button').focus();
  await ana.keyboard.press('Enter');
  await ana.locator('#join-form').waitFor();
});

test('long texts are folded, and unfold', async (t) => {
  const space = newSpace();
  const ana = await person(t);
  await post(space, 'x\n'.repeat(400), OTHERS);
  await post(space, 'short', OTHERS);
  await join(ana, space, 'Ana Paz');
  await sees(ana, 'short');
  const height = () => ana.locator('#messages .message').first()
    .evaluate((node) => node.getBoundingClientRect().height);
  assert.ok(await height() < 600, `${await height()} px`);
  await ana.getByRole('button', { name: 'Show all' }).click();
  assert.ok(await height() > 5_000);
  await ana.getByRole('button', { name: 'Show less' }).click();
  assert.ok(await height() < 600);
  await say(ana, 'ñ'.repeat(640));
  await ana.locator('#messages [data-own]').waitFor();
  await ana.locator('#messages [data-own] .fold').waitFor({ state: 'detached' });
});

test('odd names turn nothing around and are never nothing', async (t) => {
  const space = newSpace();
  const ana = await person(t);
  await join(ana, space, 'Ana Paz');
  for (const [user_id, username] of [
    [11, '\u202Eevil'], [12, '\u200B'], [13, '😀 Sol'], [14, 'مرحبا'],
  ]) {
    await post(space, `from ${user_id}`, { user_id, username });
  }
  await sees(ana, 'from 14');
  const authors = await ana.locator('#messages .author').allTextContents();
  assert.deepEqual(authors, ['evil', 'User 12', '😀 Sol', 'مرحبا']);
  const avatars = await ana.locator('#messages .avatar').allTextContents();
  assert.deepEqual(avatars.slice(0, 3), ['E', 'U1', '😀']);
  const names = ana.locator('#messages .author');
  for (const name of await names.all()) {
    assert.equal(await name.evaluate((node) => getComputedStyle(node).unicodeBidi), 'isolate');
  }
  const beto = await person(t);
  await join(beto, space, '\u202EBeto');
  const line = ana.locator('#messages .notice', { hasText: 'Beto joined' });
  await line.waitFor();
  assert.equal(await line.locator('bdi').textContent(), 'Beto');
});

test('a page that is open overnight calls yesterday by its name', async (t) => {
  const space = newSpace();
  const ana = await person(t);
  await ana.clock.install({ time: new Date() });
  await post(space, 'said today', OTHERS);
  await join(ana, space, 'Ana Paz');
  await sees(ana, 'said today');
  assert.deepEqual(await ana.locator('.day').allTextContents(), ['Today']);
  await ana.clock.fastForward('24:00:00');
  await ana.locator('.day', { hasText: 'Yesterday' }).waitFor();
  await ana.clock.fastForward('24:00:00');
  await ana.locator('.day', { hasText: 'Yesterday' }).waitFor({ state: 'detached' });
  await ana.close();
  ana.complaints.length = 0; // Requests that a day was skipped over.
});

test('in Spanish, in any variant, every word is Spanish', async (t) => {
  const space = newSpace();
  const ana = await person(t, { ...DESKTOP, locale: 'es-AR' });
  await ana.goto(new URL('/', HUB_URL).href);
  assert.equal(await ana.locator('html').getAttribute('lang'), 'es-AR');
  await ana.getByLabel('Tu nombre').fill('Ana Paz');
  await ana.getByLabel('Número de espacio').fill(String(space));
  await shot(ana, 'join-spanish');
  await ana.getByRole('button', { name: 'Entrar' }).click();
  await connected(ana);
  await notices(ana, 'Entraste como Ana Paz');
  await ana.locator('#draft').fill('hola');
  await ana.keyboard.press('Enter');
  await ana.locator('#messages [data-own][data-state="stored"]').waitFor();
  await ana.locator('.day', { hasText: 'Hoy' }).waitFor();
  const title = await ana.locator('#messages time').getAttribute('title');
  assert.match(title, /\bde\b/);
  const words = await ana.locator('body').innerText();
  assert.doesNotMatch(words, /\b(Today|People|Leave|Connected|Copy|Space|joined)\b/);
  await ana.evaluate(() => window.cutOff(true));
  await ana.locator('#banner', { hasText: 'Se perdió la conexión' }).waitFor();
  await shot(ana, 'lost-spanish');
  await ana.close();
  ana.complaints.length = 0; // The handshakes that failed, as intended.
});

test('nothing sticks out on small screens, at 200 %, with long names', async (t) => {
  const space = newSpace();
  const long = { user_id: 15, username: 'Maximiliana'.repeat(20) };
  await postMany(space, 60);
  await post(space, 'w'.repeat(300), long);
  await post(space, 'https://example.org/' + 'path/'.repeat(60), long);
  for (const [name, options] of [
    ['320', { viewport: { width: 320, height: 568 } }],
    ['200-percent', { viewport: { width: 600, height: 400 }, deviceScaleFactor: 2 }],
    ['landscape', { viewport: { width: 740, height: 360 } }],
    ['wide', { viewport: { width: 1920, height: 1080 } }],
  ]) {
    const ana = await person(t, options);
    await ana.goto(new URL('/', HUB_URL).href);
    await ana.locator('#join-form').waitFor();
    await shot(ana, `join-${name}`);
    await join(ana, space, long.username);
    await sees(ana, 'www');
    const { width, right } = await ana.evaluate(() => ({
      width: document.documentElement.scrollWidth - innerWidth,
      right: Math.max(...[...document.querySelectorAll('#chat *')]
        .filter((node) => !node.closest('dialog:not([open]), .sr-only'))
        .map((node) => node.getBoundingClientRect().right)) - innerWidth,
    }));
    assert.ok(width <= 0 && right <= 1, `${name}: ${width}, ${right}`);
    const room = await ana.locator('#scroller').evaluate((node) => node.clientHeight);
    assert.ok(room > options.viewport.height * 0.35, `${name}: ${room} px for the conversation`);
    await shot(ana, `chat-${name}`);
    assert.equal((await texts(ana)).at(-2), 'w'.repeat(300));
  }
});
