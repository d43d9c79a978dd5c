// The operators' console: it shows what the hub does, the past hour, who is where and why somebody
// went; by keyboard, in each colour and size. Against a hub that does not ask who is there, and
// one that does, as far as a stand-in can say so.
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import WebSocket from 'ws';
import { DESKTOP, HUB_URL, PHONE, findings, newSpace, person, post, shot } from './page.mjs';
import { RealHub } from './real-hub.mjs';
import { until } from './support.mjs';

const member = (t, space, user) => new Promise((resolve, reject) => {
  const address = new URL(`/v1/ws/spaces/${space}?user_id=${user}&username=User${user}`, HUB_URL);
  const socket = new WebSocket(String(address).replace(/^http/, 'ws'));
  t.after(() => socket.terminate());
  socket.on('open', () => resolve(socket));
  socket.on('error', reject);
});

const open = async (page, view, url = HUB_URL) => {
  await page.goto(new URL(`/console#/${view}`, url).href);
  await page.locator('#status[data-is="ready"]').waitFor();
};

test('the overview shows what is going on, and the past when it is opened', async (t) => {
  const space = newSpace();
  const sockets = await Promise.all([1, 2, 3].map((user) => member(t, space, 9_100 + user)));
  const talking = setInterval(() => {
    sockets[0].send(JSON.stringify({ type: 'chat', data: { content: 'to be counted' } }));
  }, 100);
  t.after(() => clearInterval(talking));
  const operator = await person(t);
  await open(operator, 'overview');
  await operator.waitForFunction(() => {
    const tiles = [...document.querySelectorAll('.tile')];
    const number = (name) => parseFloat(tiles.find((it) => it.textContent.startsWith(name))
      .querySelector('dd').textContent);
    return number('Chats a second') > 1 && number('Connections') >= 3;
  });
  const chart = operator.getByRole('img', { name: /^Chats and stored rows a second: chats \d/ });
  await chart.waitFor();
  assert.equal(await chart.locator('canvas').count(), 1);
  await operator.getByText('Nothing is wrong.').waitFor();
  // Somebody else who opens it sees the hour before, not only what comes.
  const other = await person(t);
  await open(other, 'overview');
  await other.waitForFunction(() => document.querySelectorAll('.chart canvas').length === 12);
  const past = await (await fetch(new URL('/v1/hub/past', HUB_URL))).json();
  assert.ok(past.series.chats.some((it) => it > 1), 'the past has the chats');
  await shot(operator, 'console-overview');
});

test('a space shows who is there and what was said; a kick is found with its reason', async (t) => {
  const space = newSpace();
  const one = await member(t, space, 9_201);
  const two = await member(t, space, 9_202);
  await post(space, '<b>bold</b> & "quoted"', { user_id: 9_201, username: 'User9201' });
  const operator = await person(t);
  await open(operator, 'spaces');
  await operator.getByLabel('Space', { exact: true }).fill(String(space));
  await operator.keyboard.press('Enter');
  await operator.getByRole('heading', { name: `Space ${space}` }).waitFor();
  await operator.getByText('2 connections', { exact: true }).waitFor();
  await operator.getByRole('cell', { name: '<b>bold</b> & "quoted"' }).waitFor();
  const closed = new Promise((resolve) => { two.on('close', (code) => resolve(code)); });
  operator.on('dialog', (dialog) => dialog.accept());
  await operator.getByRole('row', { name: /9202/ }).getByRole('button', { name: 'Kick' }).click();
  assert.equal(await closed, 4009);
  await operator.getByText('1 connection', { exact: true }).waitFor();
  await operator.getByLabel('Say something here').fill('from the operator');
  await operator.getByLabel('as user').fill('9201');
  const heard = new Promise((resolve) => {
    one.on('message', (data) => { if (String(data).includes('from the operator')) resolve(); });
  });
  await operator.getByRole('button', { name: 'Say' }).click();
  await heard;
  await operator.getByText(/^Stored as /).waitFor();
  await shot(operator, 'console-space');
  await open(operator, 'connections?user_id=9202');
  await operator.getByRole('cell', { name: 'kicked (4009)' }).waitFor();
  await operator.getByLabel('State').selectOption('false');
  await operator.keyboard.press('Enter');
  await operator.getByRole('button', { name: 'Find' }).click();
  await operator.getByText('None that fits.').waitFor();
});

test('what can not be read is said in words, and nothing breaks', async (t) => {
  const operator = await person(t);
  await open(operator, 'connections?address=nowhere');
  await operator.getByRole('alert').filter({ hasText: 'address' }).waitFor();
  await open(operator, 'spaces/abc');
  await operator.getByRole('alert').filter({ hasText: 'space_id' }).waitFor();
  // The browser tells of each refusal by itself.
  operator.complaints = operator.complaints.filter((it) => !it.includes('status of 400'));
});

test('where the hub asks who is there, the key is asked for and shown in the header', async (t) => {
  const operator = await person(t);
  const shown = [];
  await operator.route('**/v1/**', (route) => {
    const given = route.request().headers().authorization;
    if (given !== 'Bearer hubkey_good') {
      return route.fulfill({ status: 401, contentType: 'application/json', body: '{}' });
    }
    shown.push(route.request().url());
    return route.continue({ headers: { ...route.request().headers(), authorization: '' } });
  });
  await operator.goto(new URL('/console', HUB_URL).href);
  await operator.getByLabel('Key', { exact: true }).fill('hubkey_bad');
  await operator.keyboard.press('Enter');
  await operator.getByText('The hub does not take this key.').waitFor();
  await operator.getByLabel('Key', { exact: true }).fill('hubkey_good');
  await operator.keyboard.press('Enter');
  await operator.locator('#status[data-is="ready"]').waitFor();
  assert.ok(shown.some((url) => url.endsWith('/v1/hub/feed')));
  assert.ok(shown.every((url) => !url.includes('hubkey')), 'no address has the key');
  await operator.getByRole('button', { name: 'Forget key' }).click();
  await operator.locator('#key-dialog[open]').waitFor();
  operator.complaints = operator.complaints.filter((it) => !it.includes('status of 401'));
});

test('frames are shown as they come, held back while paused, and sifted', async (t) => {
  const space = newSpace();
  const others = await member(t, space, 9_401);
  const heard = [];
  others.on('message', (data) => heard.push(JSON.parse(data)));
  const operator = await person(t);
  await open(operator, `frames/${space}`);
  await operator.getByText(`Watching space ${space}.`).waitFor();
  const shown = (text) => operator.locator('.frames div:not([hidden])', { hasText: text });
  await shown('"type":"welcome"').waitFor();
  const said = await post(space, 'first', { user_id: 9_401, username: 'User9401' });
  await shown('"content":"first"').waitFor();
  assert.match(await shown('"content":"first"').textContent(), new RegExp(`chat ${said.id}`));
  await operator.getByRole('button', { name: 'Pause' }).click();
  await post(space, 'second', { user_id: 9_401, username: 'User9401' });
  await new Promise((resolve) => {
    const has = () => heard.some((it) => it.data?.content === 'second');
    const look = () => (has() ? resolve() : setTimeout(look, 20));
    look();
  });
  assert.equal(await shown('"content":"second"').count(), 0, 'nothing moves while it is paused');
  await operator.getByRole('button', { name: 'Go on' }).click();
  await shown('"content":"second"').waitFor();
  await operator.getByLabel('Only those with').fill('"content":"second"');
  assert.equal(await shown('"type"').count(), 1);
  // Whoever watches is nobody's business.
  assert.ok(!heard.some((it) => it.type === 'join' && it.user_id !== 9_401), 'no join is told');
  await shot(operator, 'console-frames');
});

test('axe finds nothing serious or moderate in any view, colour or size', async (t) => {
  const space = newSpace();
  await member(t, space, 9_301);
  await post(space, 'hola', { user_id: 9_301, username: 'User9301' });
  for (const [name, options] of [
    ['light', { ...DESKTOP, colorScheme: 'light' }], ['dark', { ...DESKTOP, colorScheme: 'dark' }],
    ['phone', PHONE], ['phone-dark', { ...PHONE, colorScheme: 'dark', locale: 'es-AR' }],
  ]) {
    const operator = await person(t, options);
    const views = ['overview', 'spaces', `spaces/${space}`, 'connections', 'frames', 'store'];
    for (const view of views) {
      await open(operator, view);
      await operator.waitForLoadState('networkidle', { timeout: 500 }).catch(() => {});
      assert.deepEqual(await findings(operator), [], `${name}: ${view}`);
      const wide = await operator.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${name}: ${view} is ${wide} px wider than the screen`);
      await shot(operator, `console-${name}-${view.split('/')[0]}`);
    }
    await operator.close();
  }
});

test('each view is reached by keyboard alone', async (t) => {
  const operator = await person(t);
  await open(operator, 'overview');
  for (const view of ['Spaces', 'Connections', 'Frames', 'Store']) {
    await operator.getByRole('link', { name: view, exact: true }).focus();
    await operator.keyboard.press('Enter');
    await operator.getByRole('heading', { name: view, exact: true }).waitFor();
    const current = await operator.locator('nav a[aria-current]').textContent();
    assert.equal(current, view);
  }
});

test('the spaces in which most is said come first, and all of them are turned over', async (t) => {
  const loud = newSpace();
  const speaker = await member(t, loud, 9_501);
  const talking = setInterval(() => {
    speaker.send(JSON.stringify({ type: 'chat', data: { content: 'x'.repeat(200) } }));
  }, 50);
  t.after(() => clearInterval(talking));
  const others = [...Array(110).keys()].map((n) => member(t, loud + 1 + n, 9_502));
  await Promise.all(others);
  const operator = await person(t);
  await open(operator, 'spaces');
  const hottest = operator.getByRole('table', { name: /^Where most is said now/ });
  const row = hottest.getByRole('row').nth(1);
  await row.getByRole('link', { name: String(loud), exact: true }).waitFor();
  // What was said a moment ago counts little yet.
  const chats = async () => parseFloat(await row.getByRole('cell').nth(2).textContent());
  await until('more than one a second is shown', async () => await chats() > 1);
  assert.ok(await chats() < 40);
  const all = (stretch) =>
    operator.getByRole('table', { name: new RegExp(`^Spaces ${stretch} of `) });
  assert.equal(await all('1 to 100').getByRole('row').count(), 101);
  assert.equal(await operator.getByRole('button', { name: 'First spaces' }).count(), 0);
  await operator.getByRole('button', { name: 'Next spaces' }).click();
  await all('101 to \\d+').waitFor();
  await operator.getByRole('button', { name: 'First spaces' }).click();
  await all('1 to 100').waitFor();
  await shot(operator, 'console-hottest');
});

test('dead letters are shown and stored again, and a copy is made, from the page', async (t) => {
  const hub = await RealHub.start(t);
  const said = await (await fetch(new URL('/v1/ws/spaces/1/chat', hub.url), {
    method: 'POST',
    body: JSON.stringify({ message: 'stored before', user_id: 7, username: 'Ana' }),
  })).json();
  // One that the store has by now, and one that it lacks.
  const letter = (id, content) => JSON.stringify({
    reason: 'planted: no such user', id, content, unix_us: (Date.now() - 60_000) * 1000,
    space_id: 1, user_id: 7, username: 'Ana <b>Paz</b>',
  });
  const { id } = said.chat_message;
  const other = id.slice(0, -1) + (id.endsWith('0') ? '1' : '0');
  const lines = [letter(id, 'stored before'), letter(other, 'only a letter')];
  writeFileSync(join(hub.data, 'dead-letters.jsonl'), `${lines.join('\n')}\n`);
  for (const [name, options] of [['desktop', DESKTOP], ['phone', PHONE]]) {
    const operator = await person(t, options);
    await open(operator, 'store', hub.url);
    await operator.getByText('The newest of 2 dead letters').waitFor();
    assert.equal(await operator.getByRole('cell', { name: 'planted: no such user' }).count(), 2);
    assert.equal(await operator.getByText('only a letter').count(), 0, 'nobody reads it unasked');
    await operator.getByRole('button', { name: 'Show what was said' }).click();
    await operator.getByRole('cell', { name: 'only a letter' }).waitFor();
    await operator.getByRole('cell', { name: 'Ana <b>Paz</b>' }).first().waitFor();
    assert.deepEqual(await findings(operator), [], name);
    const wide = await operator.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${name} is ${wide} px wider than the screen`);
    await shot(operator, `console-letters-${name}`);
    await operator.close();
  }
  const operator = await person(t);
  await open(operator, 'store', hub.url);
  await operator.getByRole('button', { name: 'Try them again' }).click();
  const done = '1 stored, 1 were stored already, 0 refused again.';
  await operator.getByRole('status').filter({ hasText: done }).waitFor();
  await operator.getByText('The store has refused no message.').waitFor();
  const { data } = await hub.ask('/v1/spaces/1/messages');
  assert.deepEqual(data.map((it) => it.content).sort(), ['only a letter', 'stored before']);
  await operator.getByRole('button', { name: 'Make a copy' }).click();
  await operator.getByRole('status').filter({ hasText: /was made: 2 messages/ }).waitFor();
  const { data: [copy] } = await hub.ask('/v1/hub/backups');
  await operator.getByRole('cell', { name: copy.file }).waitFor();
  assert.ok(existsSync(join(hub.data, 'backups', copy.file)));
  await shot(operator, 'console-store');
  // Before its hub ends.
  await operator.close();
});

test('the console speaks the browser’s language, or the one that was chosen', async (t) => {
  const operator = await person(t, { ...DESKTOP, locale: 'es-AR' });
  await open(operator, 'overview');
  const heading = (name) => operator.getByRole('heading', { name, exact: true }).waitFor();
  for (const [view, name] of [
    ['overview', 'Resumen'], ['spaces', 'Espacios'], ['connections', 'Conexiones'],
    ['frames', 'Tramas'], ['store', 'Almacén'],
  ]) {
    await operator.locator(`nav a[href="#/${view}"]`).click();
    await heading(name);
  }
  assert.equal(await operator.locator('html').getAttribute('lang'), 'es-AR');
  assert.match(await operator.title(), /Almacén.* – Consola de CPI Hub/);
  await operator.getByText('El almacén no rechazó ningún mensaje.').waitFor();
  await operator.getByLabel('Idioma').selectOption('en');
  await heading('Store');
  await operator.locator('#status', { hasText: 'ready' }).waitFor();
  await operator.reload();
  await heading('Store');
  await operator.getByLabel('Language').selectOption('');
  await heading('Almacén');
  // The page to chat from goes by the same choice.
  await operator.getByLabel('Idioma').selectOption('en');
  await operator.goto(new URL('/', HUB_URL).href);
  await operator.getByLabel('Your name').waitFor();
});
