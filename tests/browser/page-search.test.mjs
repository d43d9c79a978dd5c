// Search in a space's history, as people use it: typed, walked through by keyboard, pressed on a
// phone; and nowhere to be seen where the hub does not search.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  DESKTOP, HUB_URL, PHONE, findings, join, newSpace, person, post, postMany, sees, shot,
} from './page.mjs';
import { piecesOf, wordsOf } from '../../src/console/sought.js';
import { RealHub } from './real-hub.mjs';

const OTHERS = { user_id: 9, username: 'Carla Gómez' };
const found = (page) => page.locator('#search-results .said').allTextContents();
const state = (page, words) => page.locator('#search-state', { hasText: words }).waitFor();

async function open(page) {
  await page.getByRole('button', { name: 'Search', exact: true }).click();
  await page.getByRole('dialog', { name: 'Search' }).waitFor();
}

test('words are found as they are typed, and the keyboard leads to them', async (t) => {
  const space = newSpace();
  await post(space, 'Un Café a las ocho', OTHERS);
  await postMany(space, 70, 'line');
  await post(space, 'otro café, https://example.org', OTHERS);
  const ana = await person(t);
  await join(ana, space, 'Ana Paz');
  await sees(ana, 'otro café');
  await open(ana);
  assert.equal(await ana.evaluate(() => document.activeElement.id), 'search-field');
  await ana.keyboard.type('cafe');
  await state(ana, '2 messages');
  assert.deepEqual(await found(ana), ['otro café, https://example.org', 'Un Café a las ocho']);
  assert.deepEqual(await ana.locator('#search-results mark').allTextContents(), ['café', 'Café']);
  assert.deepEqual(await findings(ana), []);
  await shot(ana, 'search-desktop-light');
  await ana.keyboard.press('ArrowDown');
  await ana.keyboard.press('ArrowDown');
  await ana.keyboard.press('ArrowDown');
  await ana.keyboard.press('ArrowUp');
  await ana.keyboard.press('ArrowUp');
  assert.equal(await ana.evaluate(() => document.activeElement.id), 'search-field', 'and back');
  await ana.keyboard.press('ArrowDown');
  await ana.keyboard.press('ArrowDown');
  await ana.keyboard.press('Enter');
  await ana.getByRole('dialog', { name: 'Search' }).waitFor({ state: 'hidden' });
  const sought = ana.locator('#messages .message', { hasText: 'Un Café a las ocho' });
  await sought.waitFor();
  await ana.waitForFunction(() => document.activeElement.closest('.message')
    ?.textContent.includes('Un Café a las ocho'));
});

test('what is not there or too much is told, and more is shown on demand', async (t) => {
  const space = newSpace();
  await postMany(space, 25, 'uno dos');
  await post(space, `${'largo '.repeat(100)}aguja ${'paja '.repeat(60)}`, OTHERS);
  const ana = await person(t);
  await join(ana, space, 'Ana Paz');
  await open(ana);
  await state(ana, 'All words have to be there');
  await ana.locator('#search-field').fill('nada');
  await state(ana, 'Nothing was found');
  await ana.locator('#search-field').fill('"uno dos"');
  await state(ana, '20 messages, and there are more');
  assert.equal((await found(ana))[0], 'uno dos 25');
  await ana.getByRole('button', { name: 'Show more' }).click();
  await state(ana, /^25 messages$/);
  assert.equal((await found(ana)).length, 25);
  assert.equal((await found(ana))[24], 'uno dos 1');
  await ana.locator('#search-field').fill('"dos uno"');
  await state(ana, 'Nothing was found');
  await ana.locator('#search-field').fill('agu*');
  await state(ana, '1 message');
  const [text] = await found(ana);
  assert.match(text, /^….*aguja.*…$/s, 'the part that has the word');
  await ana.locator('#search-field').fill('a '.repeat(17));
  await state(ana, 'too much to look for');
  ana.complaints.length = 0; // The answer 400, as intended.
  await ana.locator('#search-field').fill('  * ');
  await state(ana, 'All words have to be there');
  assert.equal((await found(ana)).length, 0);
  await ana.keyboard.press('Escape');
  await ana.waitForFunction(() => document.querySelector('#search-field').value === '');
  await ana.keyboard.press('Escape');
  await ana.getByRole('dialog', { name: 'Search' }).waitFor({ state: 'hidden' });
  assert.equal(await ana.evaluate(() => document.activeElement.id), 'search-button');
});

test('on a phone and in the dark a press shows the message, in Spanish too', async (t) => {
  const space = newSpace();
  await post(space, 'El Año del Ñandú', OTHERS);
  await postMany(space, 60);
  const ana = await person(t, { ...PHONE, colorScheme: 'dark', locale: 'es-AR' });
  await ana.goto(new URL(`/#space=${space}&username=Ana`, HUB_URL).href);
  await ana.locator('#status[data-state="open"]').waitFor();
  await ana.getByRole('button', { name: 'Buscar', exact: true }).click();
  await ana.locator('#search-field').fill('nandu');
  await ana.locator('#search-state', { hasText: '1 mensaje' }).waitFor();
  assert.deepEqual(await findings(ana), []);
  const { width } = PHONE.viewport;
  const box = await ana.locator('#search').boundingBox();
  assert.ok(box.x >= 0 && box.x + box.width <= width, 'it fits');
  assert.ok((await ana.locator('#search-results button').boundingBox()).height >= 44);
  await shot(ana, 'search-phone-dark');
  await ana.locator('#search-results button').tap();
  await ana.locator('#messages .text', { hasText: 'El Año del Ñandú' }).waitFor();
  await ana.locator('#search').waitFor({ state: 'hidden' });
});

test('where the hub does not search, there is no button', async (t) => {
  const hub = await RealHub.start(t);
  const ana = await person(t, DESKTOP);
  const asked = ana.waitForResponse((response) => /\/v1\/spaces\/5$/.test(response.url()));
  await ana.goto(`${hub.url}/#space=5&username=Ana`);
  await ana.locator('#status[data-state="open"]').waitFor();
  assert.equal((await (await asked).json()).search, false);
  assert.equal(await ana.locator('#search-button').isVisible(), false);
});

test('the words that were found are marked by the rules by which the hub finds them', () => {
  const marked = (content, query) => piecesOf(content, wordsOf(query))
    .filter(Array.isArray).map(([word]) => word);
  assert.deepEqual(marked('Café, cafés y CAFE', 'cafe'), ['Café', 'CAFE']);
  assert.deepEqual(marked('Café, cafés y CAFE', 'caf*'), ['Café', 'cafés', 'CAFE']);
  assert.deepEqual(marked('cafe\u0301 no', 'café'), ['cafe\u0301']);
  assert.deepEqual(marked('a-b c', '"b c"'), ['b', 'c']);
  assert.deepEqual(marked('nada', '*'), []);
  assert.deepEqual(piecesOf('x hola', wordsOf('hola')), ['x ', ['hola']]);
});
