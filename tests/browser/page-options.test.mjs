// The options: language, colours, notifications, each chosen while the page is open.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  DESKTOP, HUB_URL, PHONE, connected, findings, join, lookAway, newSpace, notices, person, post,
  say, sees, shot,
} from './page.mjs';

const OTHERS = { user_id: 9, username: 'Carla Gómez' };
const choose = async (page, name) => {
  await page.locator('#options-button').click();
  await page.locator('#options label', { hasText: name }).click();
  await page.keyboard.press('Escape');
};

test('another language changes every word at once, and nobody leaves for it', async (t) => {
  const space = newSpace();
  const [ana, beto] = [await person(t), await person(t)];
  await join(beto, space, 'Beto Rey');
  await join(ana, space, 'Ana Paz');
  await say(ana, '¿qué tal?');
  await ana.locator('#messages [data-own][data-state="stored"]').waitFor();
  await post(space, 'x\n'.repeat(60), OTHERS);
  await post(space, 'https://pictures.example/a.png', OTHERS);
  await ana.locator('#draft').fill('ñ'.repeat(1100));
  await ana.keyboard.press('Enter');
  await ana.locator('#composer-error', { hasText: 'too long by 100' }).waitFor();
  await choose(ana, 'Español');
  await ana.locator('#composer-error', { hasText: 'le sobran 100' }).waitFor();
  assert.equal(await ana.locator('html').getAttribute('lang'), 'es');
  await notices(ana, 'Entraste como Ana Paz');
  await ana.locator('.day', { hasText: 'Hoy' }).waitFor();
  await ana.getByRole('button', { name: 'Ver todo' }).waitFor();
  await ana.locator('.picture-offer', { hasText: 'Mostrar imagen de' }).waitFor();
  assert.equal(await ana.title(), `Espacio ${space} · CPI Hub`);
  assert.match(await ana.locator('#messages time').first().getAttribute('title'), / de /);
  const words = await ana.locator('body').innerText();
  assert.doesNotMatch(words, /\b(Today|People|Leave|Connected|Copy|Space|joined|Show|you)\b/);
  await ana.locator('#people-list', { hasText: '(tú)' }).waitFor();
  await shot(ana, 'spanish-desktop-light');
  assert.equal(await beto.locator('.notice', { hasText: 'Ana Paz left' }).count(), 0);
  await ana.reload();
  await connected(ana);
  await ana.locator('#status', { hasText: 'Conectado' }).waitFor();
  await choose(ana, 'Del navegador');
  await ana.locator('#status', { hasText: 'Connected' }).waitFor();
  assert.equal(await ana.locator('html').getAttribute('lang'), 'en-US');
});

test('the colours are the system’s, or those that were chosen, from the first on', async (t) => {
  const space = newSpace();
  const ana = await person(t, { ...DESKTOP, colorScheme: 'light' });
  const isDark = () => ana.evaluate(() => {
    const [red] = getComputedStyle(document.querySelector('.chat')).backgroundColor.match(/\d+/g);
    return Number(red) < 60;
  });
  await join(ana, space, 'Ana Paz');
  await post(space, 'hola', OTHERS);
  await sees(ana, 'hola');
  assert.equal(await isDark(), false);
  await ana.emulateMedia({ colorScheme: 'dark' });
  assert.equal(await isDark(), true, 'the system’s');
  await choose(ana, 'Light');
  assert.equal(await isDark(), false, 'the person’s');
  await ana.emulateMedia({ colorScheme: 'light' });
  await choose(ana, 'Dark');
  assert.equal(await isDark(), true);
  assert.deepEqual(await findings(ana), []);
  await ana.locator('#options-button').click();
  assert.deepEqual(await findings(ana), [], 'the options');
  await shot(ana, 'options-desktop-dark');
  await ana.addInitScript(() => {
    new MutationObserver((_, observer) => {
      if (!document.body) return;
      window.themeAtFirst = document.documentElement.dataset.theme;
      observer.disconnect();
    }).observe(document, { childList: true, subtree: true });
  });
  await ana.reload();
  await connected(ana);
  assert.equal(await ana.evaluate(() => window.themeAtFirst), 'dark', 'no flash of light');
  const colour = ana.locator('meta[name="theme-color"]');
  assert.equal(await colour.getAttribute('content'), '#141821');
  await choose(ana, 'System');
  assert.equal(await isDark(), false);
});

/** Keeps what the browser is asked to show. */
const recordNotifications = (page) => page.addInitScript(() => {
  window.shown = [];
  const Real = window.Notification;
  window.Notification = class extends Real {
    constructor(title, options) {
      super(title, options);
      window.shown.push({ title, ...options, node: this });
    }
  };
});

test('notifications come when asked for, of what nobody looks at', async (t) => {
  const space = newSpace();
  const ana = await person(t);
  await ana.context().grantPermissions(['notifications'], { origin: new URL(HUB_URL).origin });
  await recordNotifications(ana);
  await join(ana, space, 'Ana Paz');
  const bodies = () => ana.evaluate(() => window.shown.map(({ body }) => body));
  await lookAway(ana, true);
  await post(space, 'nobody asked for these', OTHERS);
  await sees(ana, 'nobody asked');
  await lookAway(ana, false);
  assert.deepEqual(await bodies(), []);
  await ana.locator('#options-button').click();
  await ana.getByRole('switch', { name: 'Notifications' }).check();
  await ana.waitForFunction(() => window.shown.length === 1);
  await ana.keyboard.press('Escape');
  await post(space, 'looked at', OTHERS);
  await sees(ana, 'looked at');
  await lookAway(ana, true);
  await post(space, '<b>who is there?</b>', OTHERS);
  await ana.waitForFunction(() => window.shown.length === 2);
  const [, { title, body }] = await ana.evaluate(() => window.shown.map(({ node, ...it }) => it));
  assert.equal(body, '<b>who is there?</b>');
  assert.match(title, /Carla Gómez.* · Space \d+/);
  for (let i = 0; i < 30; i++) await post(space, `flood ${i}`, OTHERS);
  await ana.waitForFunction(() => window.shown.at(-1).body === 'flood 29');
  assert.ok((await bodies()).length <= 6, `${(await bodies()).length} of 30 messages`);
  await ana.evaluate(() => window.shown.at(-1).node.onclick());
  await lookAway(ana, false);
  await ana.reload();
  await connected(ana);
  await ana.locator('#options-button').click();
  assert.ok(await ana.getByRole('switch', { name: 'Notifications' }).isChecked());
  await ana.getByRole('switch', { name: 'Notifications' }).uncheck();
  await ana.keyboard.press('Escape');
  await lookAway(ana, true);
  await post(space, 'none of this', OTHERS);
  await sees(ana, 'none of this');
  assert.deepEqual(await bodies(), []);
});

test('where the browser refuses notifications the switch says why', async (t) => {
  const ana = await person(t);
  await ana.addInitScript(() => {
    Object.defineProperty(Notification, 'permission', { get: () => 'denied' });
  });
  await join(ana, newSpace(), 'Ana Paz');
  await ana.locator('#options-button').click();
  const notify = ana.getByRole('switch', { name: 'Notifications' });
  assert.ok(await notify.isDisabled());
  await ana.locator('#notify-hint', { hasText: 'The browser blocks them' }).waitFor();
});

test('on a phone the options hold what the bar has no room for', async (t) => {
  const space = newSpace();
  const ana = await person(t, { ...PHONE, colorScheme: 'dark' });
  await ana.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await ana.goto(new URL('/', HUB_URL).href);
  await ana.locator('#join-options').click();
  assert.ok(!await ana.locator('#options-leave').isVisible(), 'nothing to leave yet');
  assert.deepEqual(await findings(ana), [], 'the options before joining');
  await ana.locator('#options-close').click();
  await join(ana, space, 'Ana Paz');
  await ana.locator('#options-button').click();
  await ana.locator('#options-leave').waitFor();
  await shot(ana, 'options-phone-dark');
  assert.deepEqual(await findings(ana), []);
  await ana.locator('#options-copy').click();
  const link = new URL(`/#space=${space}`, HUB_URL).href;
  assert.equal(await ana.evaluate(() => navigator.clipboard.readText()), link);
  await ana.locator('#options-leave').click();
  await ana.locator('#join-form').waitFor();
  assert.ok(!await ana.locator('#options').isVisible());
});

test('the options go by keyboard alone, and give the focus back', async (t) => {
  const ana = await person(t);
  await join(ana, newSpace(), 'Ana Paz');
  await ana.locator('#options-button').focus();
  await ana.keyboard.press('Enter');
  await ana.getByRole('dialog', { name: 'Options' }).waitFor();
  await ana.keyboard.press('Tab');
  await ana.keyboard.press('ArrowRight');
  assert.equal(await ana.locator('html').getAttribute('data-theme'), 'light');
  await ana.keyboard.press('Tab');
  await ana.keyboard.press('ArrowLeft');
  assert.equal(await ana.locator('html').getAttribute('lang'), 'es');
  await ana.keyboard.press('Escape');
  assert.equal(await ana.evaluate(() => document.activeElement.id), 'options-button');
});

test('a space is called by its name where the database has one', async (t) => {
  const space = newSpace();
  const ana = await person(t);
  await ana.route(`**/v1/spaces/${space}`, (route) => (
    route.fulfill({ json: { space_id: space, name: 'F\u00edsica\u202E  <b>II</b>' } })));
  const beto = await person(t);
  await join(beto, space, 'Beto Rey');
  await ana.goto(new URL('/', HUB_URL).href);
  await ana.locator('#spaces button', { hasText: 'Física <b>II</b>' }).click({ trial: true });
  await join(ana, space, 'Ana Paz');
  await ana.locator('#space-title', { hasText: 'Física <b>II</b>' }).waitFor();
  assert.equal(await ana.locator('#space-title').getAttribute('title'), `Space ${space}`);
  await ana.waitForFunction(() => document.title === '\u2068Física <b>II</b>\u2069 · CPI Hub');
  await beto.locator('#space-title', { hasText: `Space ${space}` }).waitFor();
});
