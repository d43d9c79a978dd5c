// What a person has not read, and where they stopped: the line, the counts, the ways there.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  HUB_URL, PHONE, atTheEnd, connected, findings, join, lookAway, newSpace, person, post, postMany,
  say, sees, shot, texts,
} from './page.mjs';

const titled = (page, begin) => page.waitForFunction((wanted) => (
  document.title.startsWith(wanted)), begin);
const behindLine = (page) => page.evaluate(() => {
  const message = document.querySelector('.unread + .message .text');
  return message?.textContent ?? null;
});
const linesOf = (page) => page.locator('#messages .unread').count();
const isInSight = (page, selector) => page.locator(selector).evaluate((node) => {
  const [box, seen] = [node, document.querySelector('#scroller')].map((it) => (
    it.getBoundingClientRect()));
  return box.bottom > seen.top && box.top < seen.bottom;
});
const toTheEnd = (page, last) => page.waitForFunction((text) => {
  const scroller = document.querySelector('#scroller');
  scroller.scrollTop = scroller.scrollHeight;
  return [...document.querySelectorAll('#messages .text')].at(-1).textContent === text;
}, last);

test('what comes while nobody looks is counted in the title and begins a line', async (t) => {
  const space = newSpace();
  const ana = await person(t);
  await join(ana, space, 'Ana Paz');
  await post(space, 'seen at once');
  await sees(ana, 'seen at once');
  assert.equal(await linesOf(ana), 0);
  await lookAway(ana, true);
  for (const n of [1, 2, 3]) await post(space, `unseen ${n}`);
  await titled(ana, '(3) ');
  assert.equal(await behindLine(ana), 'unseen 1');
  await shot(ana, 'unread-desktop-light');
  await lookAway(ana, false);
  await titled(ana, 'Space');
  assert.equal(await behindLine(ana), 'unseen 1', 'the line stays, to see where it began');
  await post(space, 'seen again');
  await sees(ana, 'seen again');
  await titled(ana, 'Space');
  await lookAway(ana, true);
  await post(space, 'unseen 4');
  await titled(ana, '(1) ');
  assert.equal(await behindLine(ana), 'unseen 4', 'what is new begins a line of its own');
  assert.equal(await linesOf(ana), 1);
  await lookAway(ana, false);
  await say(ana, 'an answer');
  await sees(ana, 'an answer');
  assert.equal(await linesOf(ana), 0, 'who answers has read');
});

test('own messages and those of another tab of the person are not unread', async (t) => {
  const space = newSpace();
  const ana = await person(t);
  await ana.goto(new URL(`/?space=${space}&user_id=7&username=Ana`, HUB_URL).href);
  await connected(ana);
  await lookAway(ana, true);
  await post(space, 'said elsewhere', { user_id: 7, username: 'Ana' });
  await sees(ana, 'said elsewhere');
  await titled(ana, 'Space');
  assert.equal(await linesOf(ana), 0);
});

test('who comes back to a space begins where they stopped to read', async (t) => {
  const space = newSpace();
  const ana = await person(t);
  await postMany(space, 5, 'old');
  await join(ana, space, 'Ana Paz');
  await sees(ana, 'old 5');
  assert.equal(await linesOf(ana), 0, 'nothing is unread for who is new');
  await ana.getByRole('button', { name: 'Leave' }).click();
  await ana.locator('#join-form').waitFor();
  await postMany(space, 30, 'new');
  await join(ana, space, 'Ana Paz');
  await ana.locator('.unread').waitFor();
  assert.equal(await behindLine(ana), 'new 1');
  assert.ok(await isInSight(ana, '.unread'));
  await titled(ana, '(30) ');
  await ana.locator('#pill', { hasText: '30 new messages' }).waitFor();
  await shot(ana, 'unread-back-desktop-light');
  await ana.locator('#pill').click();
  await atTheEnd(ana);
  await titled(ana, 'Space');
  await ana.reload();
  await connected(ana);
  await sees(ana, 'new 30');
  assert.equal(await linesOf(ana), 0, 'all of it was read');
  await atTheEnd(ana);
});

test('where more is unread than a page, one press leads to the first of it', async (t) => {
  const space = newSpace();
  const ana = await person(t, PHONE);
  await postMany(space, 5, 'old');
  await join(ana, space, 'Ana Paz');
  await sees(ana, 'old 5');
  await ana.locator('#options-button').click();
  await ana.locator('#options-leave').click();
  await ana.locator('#join-form').waitFor();
  await postMany(space, 130, 'new');
  await join(ana, space, 'Ana Paz');
  await ana.locator('#unread-bar', { hasText: 'Over 50 new messages' }).waitFor();
  await atTheEnd(ana);
  await shot(ana, 'unread-many-phone-light');
  assert.deepEqual(await findings(ana), []);
  await ana.locator('#unread-jump').click();
  await ana.locator('.unread').waitFor();
  assert.equal(await behindLine(ana), 'new 1');
  assert.ok(await isInSight(ana, '.unread'));
  await ana.locator('#unread-bar').waitFor({ state: 'hidden' });
  await post(space, 'the newest');
  await toTheEnd(ana, 'the newest');
  const shown = (await texts(ana)).filter((text) => text.startsWith('new '));
  assert.deepEqual(shown, Array.from({ length: 130 }, (_, i) => `new ${i + 1}`), 'without a hole');
  await titled(ana, 'Space');
});

test('who doesn’t want to read it all marks it as read', async (t) => {
  const space = newSpace();
  const ana = await person(t);
  await post(space, 'old');
  await join(ana, space, 'Ana Paz');
  await sees(ana, 'old');
  await ana.locator('#leave-button').click();
  await postMany(space, 60, 'new');
  await join(ana, space, 'Ana Paz');
  await ana.locator('#unread-bar').waitFor();
  await ana.locator('#unread-read').click();
  await ana.locator('#unread-bar').waitFor({ state: 'hidden' });
  assert.equal(await linesOf(ana), 0);
});

test('a link to a message shows it where it was said, and the way on from there', async (t) => {
  const space = newSpace();
  const said = [];
  for (let i = 1; i <= 200; i++) said.push(await post(space, `line ${i}`));
  const address = new URL(`/#space=${space}&message=${said[19].id}`, HUB_URL).href;
  const ana = await person(t);
  await ana.goto(address);
  await ana.getByLabel('Your name').fill('Ana Paz');
  await ana.getByRole('button', { name: 'Join space' }).click();
  await connected(ana);
  await ana.locator('[data-sought]', { hasText: 'line 20' }).waitFor();
  await shot(ana, 'message-link-desktop-light');
  const item = `[data-id="${said[19].id}"]`;
  assert.ok(await isInSight(ana, item));
  const focused = () => ana.evaluate(() => document.activeElement.dataset.id);
  assert.equal(await focused(), said[19].id);
  assert.equal(ana.url(), new URL(`/#space=${space}`, HUB_URL).href);
  await post(space, 'the newest');
  await toTheEnd(ana, 'the newest');
  const numbers = (await texts(ana)).slice(0, -1).map((text) => Number(text.split(' ')[1]));
  assert.ok(numbers.every((n, i) => i === 0 || n === numbers[i - 1] + 1), 'without a hole');
  assert.equal(numbers.at(-1), 200);

  // In the page that is open, an address of the same space leads there too, and nobody leaves.
  const follow = (id) => ana.evaluate((hash) => { location.hash = hash; },
    `space=${space}&message=${id}`);
  await follow(said[4].id);
  await ana.locator('[data-sought]', { hasText: 'line 5' }).waitFor();
  await ana.locator('#pill').click();
  await atTheEnd(ana);
  await post(space, `as said in ${address}`);
  await ana.locator('#messages .text a').click();
  await ana.locator('[data-sought]', { hasText: 'line 20' }).waitFor();
  assert.equal(ana.context().pages().length, 1, 'in this very page');
  await follow('7'.repeat(26));
  await ana.locator('#toast', { hasText: 'That message is not in this space' }).waitFor();
  await ana.locator('#pill').click();
  await atTheEnd(ana);
  assert.match((await texts(ana)).at(-1), /^as said in/);
});

test('a draft is kept for each space, over a reload and a leave', async (t) => {
  const [one, other] = [newSpace(), newSpace()];
  const ana = await person(t);
  const draft = ana.getByLabel('Message', { exact: true });
  await join(ana, one, 'Ana Paz');
  await draft.fill('half a thought\nof two lines');
  await ana.reload();
  await connected(ana);
  assert.equal(await draft.inputValue(), 'half a thought\nof two lines');
  assert.ok(await draft.evaluate((node) => node.clientHeight > 45), 'as high as its text');
  await ana.locator('#leave-button').click();
  await join(ana, other, 'Ana Paz');
  assert.equal(await draft.inputValue(), '');
  await draft.fill('another');
  await ana.locator('#leave-button').click();
  await join(ana, one, 'Ana Paz');
  assert.equal(await draft.inputValue(), 'half a thought\nof two lines');
  await ana.keyboard.press('Enter');
  await sees(ana, 'half a thought');
  await ana.reload();
  await connected(ana);
  assert.equal(await draft.inputValue(), '', 'what was sent is no draft');
});

test('a tab that stays behind doesn’t undo what was read in another', async (t) => {
  const space = newSpace();
  const ana = await person(t);
  await join(ana, space, 'Ana Paz');
  const behind = await ana.context().newPage();
  await join(behind, space, 'Ana Paz');
  await lookAway(behind, true);
  await post(space, 'read in the first tab');
  await sees(ana, 'read in the first tab');
  await behind.locator('.unread').waitFor();
  await behind.locator('#draft').fill('written in the second');
  await behind.close({ runBeforeUnload: true });
  await ana.reload();
  await connected(ana);
  await sees(ana, 'read in the first tab');
  assert.equal(await linesOf(ana), 0);
});

test('of many spaces the ones left longest ago are forgotten', async (t) => {
  const ana = await person(t);
  await ana.goto(new URL('/', HUB_URL).href);
  await ana.evaluate(() => {
    for (let i = 0; i < 150; i++) {
      localStorage.setItem(`cpi-hub.at.7.${i}`, JSON.stringify({ read: 'x', at: i + 1 }));
    }
    localStorage.setItem('cpi-hub.at.7.broken', '{');
  });
  await join(ana, newSpace(), 'Ana Paz');
  const kept = await ana.evaluate(() => Object.keys(localStorage)
    .filter((name) => name.startsWith('cpi-hub.at.7.')).length);
  assert.ok(kept <= 100, `${kept} are kept`);
  assert.ok(await ana.evaluate(() => localStorage.getItem('cpi-hub.at.7.149')));
});
