// The conversation on the page, in a real browser against a running hub (scripts/test starts one
// and sets HUB_URL).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  DESKTOP, HUB_URL, PHONE, connected, join, newSpace, notices, person, post, postMany, say, sees,
  shot, texts,
} from './page.mjs';

test('two people join a space, see each other and chat', async (t) => {
  const space = newSpace();
  const [ana, beto] = [await person(t), await person(t, { ...DESKTOP, colorScheme: 'dark' })];
  await ana.goto(new URL('/', HUB_URL).href);
  await ana.locator('#join-form').waitFor();
  await shot(ana, 'join-desktop-light');
  await join(ana, space, 'Ana Paz');
  await ana.locator('#empty').waitFor();
  await join(beto, space, 'Beto Rey');
  await notices(ana, 'Beto Rey joined');
  await beto.locator('#people-list', { hasText: 'Ana Paz' }).waitFor();
  await ana.locator('#people-list', { hasText: 'Beto Rey' }).waitFor();
  assert.equal(await beto.locator('#people-count').textContent(), '2');

  await say(ana, 'Hola Beto, did you see the new hub?');
  await sees(beto, 'Hola Beto');
  await say(beto, 'Just joined. It says “Stored” next to each message.');
  await sees(ana, 'Just joined');
  await say(beto, 'Two ticks, even.');
  await say(ana, 'One tick: the hub has it. Two: it is in the database, and it stays there '
    + 'whatever happens to the hub.\nThis is a second line.');
  await sees(beto, 'second line');
  await say(ana, 'Nice.');
  await sees(beto, 'Nice.');
  await ana.waitForFunction(() => document.querySelectorAll(
    '#messages .message[data-own][data-state="stored"]').length === 3);
  assert.equal(await ana.locator('#outbox .message').count(), 0, 'nothing is left on its way');
  assert.deepEqual(await texts(ana), await texts(beto), 'both see the same, in the same order');
  assert.equal(await beto.locator('#messages .message[data-own]').count(), 2);
  await shot(ana, 'chat-desktop-light');
  await shot(beto, 'chat-desktop-dark');
});

test('a person who reloads is back in the space with its history', async (t) => {
  const space = newSpace();
  const ana = await person(t);
  await join(ana, space, 'Ana Paz');
  for (const text of ['first', 'second', 'third']) {
    await say(ana, text);
    await sees(ana, text);
  }
  await ana.waitForFunction(() => document.querySelectorAll('[data-state="stored"]').length === 3);
  await ana.reload();
  await connected(ana);
  await sees(ana, 'third');
  assert.deepEqual(await texts(ana), ['first', 'second', 'third']);
  assert.equal(await ana.locator('#messages [data-own]').count(), 3, 'they are still her own');
});

test('an address with the space and the name joins at once', async (t) => {
  const space = newSpace();
  const ana = await person(t);
  await ana.goto(new URL(`/?space=${space}&user_id=7&username=Ana%20%C3%91`, HUB_URL).href);
  await connected(ana);
  await notices(ana, 'You joined as Ana Ñ');
  await ana.locator('#people-list [data-user-id="7"]').waitFor();
});

test('scrolling up reads all of the history and keeps the place', async (t) => {
  const space = newSpace();
  await postMany(space, 130);
  const ana = await person(t);
  await join(ana, space, 'Ana Paz');
  await sees(ana, 'line 130');
  assert.equal(await ana.locator('#messages .message').count(), 50, 'one page at first');

  const placeOf = (text) => ana.evaluate((wanted) => [...document.querySelectorAll('.text')]
    .find((node) => node.textContent === wanted).getBoundingClientRect().top, text);
  await ana.evaluate(() => { document.querySelector('#scroller').scrollTop = 300; });
  const place = await placeOf('line 90');
  await sees(ana, 'line 31');
  assert.ok(Math.abs(await placeOf('line 90') - place) < 2, 'what is read stays where it is');

  await ana.locator('#scroller').focus();
  await ana.waitForFunction(() => {
    document.querySelector('#scroller').scrollTop = 0;
    return document.querySelectorAll('#messages .message').length === 130;
  });
  assert.deepEqual(await texts(ana), Array.from({ length: 130 }, (_, i) => `line ${i + 1}`));

  await ana.locator('#pill', { hasText: 'Back to the newest' }).waitFor();
  await post(space, 'news from below');
  await ana.locator('#pill', { hasText: '1 new message' }).waitFor();
  await shot(ana, 'history-desktop-light');
  await ana.locator('#pill').click();
  await ana.locator('#pill').waitFor({ state: 'hidden' });
  assert.ok(await ana.locator('.text', { hasText: 'news from below' }).isVisible());
});

test('the page keeps a bounded number of messages and can still reach each one', async (t) => {
  const space = newSpace();
  await postMany(space, 1150);
  const ana = await person(t);
  await join(ana, space, 'Ana Paz');
  await ana.waitForFunction(() => {
    document.querySelector('#scroller').scrollTop = 0;
    return [...document.querySelectorAll('.text')].some((node) => node.textContent === 'line 1');
  }, null, { timeout: 60_000 });
  assert.ok(await ana.locator('#messages > li').count() <= 450, 'the far end is dropped');
  await post(space, 'the newest');
  await ana.locator('#pill').waitFor();
  await ana.waitForFunction(() => {
    const scroller = document.querySelector('#scroller');
    scroller.scrollTop = scroller.scrollHeight;
    return [...document.querySelectorAll('.text')].at(-1).textContent === 'the newest';
  });
  const shown = await texts(ana);
  const numbers = shown.slice(0, -1).map((text) => Number(text.split(' ')[1]));
  assert.ok(numbers.every((n, i) => i === 0 || n === numbers[i - 1] + 1), 'without a hole');
  assert.equal(numbers.at(-1), 1150);
});

test('one leaves and the other sees it', async (t) => {
  const space = newSpace();
  const [ana, beto] = [await person(t), await person(t)];
  await join(ana, space, 'Ana Paz');
  await join(beto, space, 'Beto Rey');
  await notices(ana, 'Beto Rey joined');
  await beto.getByRole('button', { name: 'Leave' }).click();
  await beto.locator('#join-form').waitFor();
  await notices(ana, 'Beto Rey left');
  await ana.waitForFunction(() => document.querySelector('#people-count').textContent === '1');
  await join(beto, space, 'Beto Rey');
  await beto.close();
  await ana.waitForFunction(() => document.querySelectorAll('.notice').length === 5);
});

test('on a phone the whole page fits and people open over it', async (t) => {
  const space = newSpace();
  const ana = await person(t, PHONE);
  await ana.goto(new URL('/', HUB_URL).href);
  await ana.locator('#join-form').waitFor();
  await shot(ana, 'join-phone-light');
  await join(ana, space, 'Ana Paz');
  await post(space, 'Welcome to the space! Here is a link that has no place to break: '
    + `https://example.org/${'a-long-path/'.repeat(8)}`, { user_id: 9, username: 'Carla Gómez' });
  await post(space, 'And a short one.', { user_id: 9, username: 'Carla Gómez' });
  await say(ana, 'Thanks Carla, it works on the phone too.');
  await ana.locator('#messages [data-own][data-state="stored"]').waitFor();
  const wide = await ana.evaluate(() => document.documentElement.scrollWidth);
  assert.equal(wide, 360, 'nothing sticks out to the side');
  await shot(ana, 'chat-phone-light');
  await ana.emulateMedia({ colorScheme: 'dark' });
  await shot(ana, 'chat-phone-dark');
  assert.ok(!await ana.locator('#people').isVisible());
  await ana.locator('#people-button').click();
  await ana.locator('#people-list', { hasText: 'Ana Paz' }).waitFor();
  await shot(ana, 'people-phone-dark');
  await ana.keyboard.press('Escape');
  assert.ok(!await ana.locator('#people').isVisible());
});

test('a message that is too long is refused with its counter and stays a draft', async (t) => {
  const ana = await person(t);
  await join(ana, newSpace(), 'Ana Paz');
  const draft = ana.getByLabel('Message', { exact: true });
  await draft.fill('ñ'.repeat(800));
  await ana.locator('#counter', { hasText: '200 characters left' }).waitFor();
  const long = 'ñ'.repeat(1200);
  await draft.fill(long);
  await ana.locator('#counter[data-over]', { hasText: '200 characters over' }).waitFor();
  await ana.keyboard.press('Enter');
  await ana.locator('#composer-error', { hasText: 'too long by 200 characters' }).waitFor();
  await shot(ana, 'too-long-desktop-light');
  assert.equal(await draft.inputValue(), long);
  const whole = '😀'.repeat(1000);
  await draft.fill(whole);
  await ana.locator('#counter', { hasText: '0 characters left' }).waitFor();
  await ana.keyboard.press('Enter');
  await ana.locator('#messages [data-own][data-state="stored"]').waitFor();
  await say(ana, 'short');
  await sees(ana, 'short');
  assert.deepEqual(await texts(ana), [whole, 'short']);
});

test('hostile and unusual text is shown as text', async (t) => {
  const space = newSpace();
  const [ana, beto] = [await person(t), await person(t)];
  await join(ana, space, '<b>Ana</b>');
  await join(beto, space, 'Beto');
  const lines = [
    '<img src=x onerror="window.hacked = true">',
    '<script>window.hacked = true</script>',
    'مرحبا \u202Eevil\u202C and back',
    '👩‍👩‍👧‍👦 🇦🇷 é ñ 漢字',
    '"quotes" & <tags> \\ back\u2028slash',
    'see https://example.org/a?b=(c)#d, not javascript:alert(1) nor https://a\u202Egro.live',
  ];
  for (const line of lines) {
    await say(ana, line);
    await beto.waitForFunction((text) => [...document.querySelectorAll('#messages .text')]
      .at(-1)?.textContent === text, line);
  }
  assert.deepEqual(await texts(beto), lines);
  assert.equal(await beto.locator('#messages .author').first().textContent(), '<b>Ana</b>');
  for (const page of [ana, beto]) {
    assert.equal(await page.evaluate(() => window.hacked), undefined);
    assert.equal(await page.locator('#chat img, #chat script, #chat b').count(), 0);
    const links = page.locator('#chat .text a');
    assert.deepEqual(await links.allTextContents(), ['https://example.org/a?b=(c)#d', 'https://a']);
    assert.equal(await links.first().getAttribute('rel'), 'noopener noreferrer nofollow');
  }
  await shot(beto, 'hostile-desktop-light');
});

test('who sends too fast is told when to go on and loses no text', async (t) => {
  const ana = await person(t);
  await join(ana, newSpace(), 'Ana Paz');
  const draft = ana.getByLabel('Message', { exact: true });
  // In one go: typing by remote control is slower than the limit.
  await ana.evaluate(async () => {
    const [field, form] = [document.querySelector('#draft'), document.querySelector('#composer')];
    const waiting = () => document.querySelectorAll('#outbox [data-state="sending"]').length;
    for (let n = 0; n < 10_000 && !field.value; n++) {
      field.value = `burst ${n}`;
      form.requestSubmit();
      while (waiting() >= 30) await new Promise((resolve) => { setTimeout(resolve, 0); });
    }
  });
  await ana.locator('#composer-error', { hasText: 'You can send again in' }).waitFor();
  await shot(ana, 'too-fast-desktop-light');
  assert.match(await draft.inputValue(), /^burst/);
  await ana.locator('#composer-error').waitFor({ state: 'hidden' });
});

test('who is removed from a space is told so and can come back', async (t) => {
  const space = newSpace();
  const ana = await person(t);
  await ana.goto(new URL(`/?space=${space}&user_id=77&username=Ana`, HUB_URL).href);
  await connected(ana);
  const member = new URL(`/v1/spaces/${space}/members/77`, HUB_URL);
  const { closed } = await (await fetch(member, { method: 'DELETE' })).json();
  assert.equal(closed, 1);
  await ana.locator('#banner', { hasText: 'You were removed from this space' }).waitFor();
  await shot(ana, 'removed-desktop-light');
  await ana.getByRole('button', { name: 'Join again' }).click();
  await connected(ana);
  await ana.locator('#banner').waitFor({ state: 'hidden' });
});

test('history that can’t be read is said and tried again on request', async (t) => {
  const space = newSpace();
  await post(space, 'from before');
  const ana = await person(t, PHONE);
  const pattern = /\/v1\/spaces\/\d+\/messages/;
  await ana.route(pattern, (route) => route.abort());
  await join(ana, space, 'Ana Paz');
  await ana.locator('#history-state', { hasText: 'could not be loaded' }).waitFor();
  await say(ana, 'live still works');
  await sees(ana, 'live still works');
  await shot(ana, 'no-history-phone-light');
  await ana.unroute(pattern);
  await ana.getByRole('button', { name: 'Try again' }).click();
  await sees(ana, 'from before');
  assert.deepEqual(await texts(ana), ['from before', 'live still works']);
  ana.complaints.length = 0; // The aborted requests, as intended.
});

test('while history is on its way nothing says that the space is quiet', async (t) => {
  const space = newSpace();
  const ana = await person(t);
  let answer = null;
  await ana.route(/\/v1\/spaces\/\d+\/messages/, async (route) => {
    await new Promise((resolve) => { answer = resolve; });
    await route.continue();
  });
  await ana.goto(new URL(`/?space=${space}&username=Ana`, HUB_URL).href);
  await ana.locator('#skeleton').waitFor();
  assert.ok(await ana.locator('#empty').isHidden());
  await shot(ana, 'loading-desktop-light');
  answer();
  await ana.locator('#empty').waitFor();
  await ana.locator('#skeleton').waitFor({ state: 'hidden' });
  await shot(ana, 'empty-desktop-light');
});

test('after a lost connection nothing is missed, repeated or sent twice', async (t) => {
  const space = newSpace();
  const [ana, beto] = [await person(t), await person(t)];
  await join(ana, space, 'Ana Paz');
  await join(beto, space, 'Beto Rey');
  await say(beto, 'before');
  await sees(ana, 'before');
  await ana.evaluate(() => window.cutOff(true));
  await ana.locator('#banner', { hasText: 'connection to the hub was lost' }).waitFor();
  await notices(beto, 'Ana Paz left');
  await shot(ana, 'lost-desktop-light');
  for (let i = 1; i <= 20; i++) await post(space, `missed ${i}`);
  await say(ana, 'written while away');
  await ana.locator('#outbox [data-state="sending"]').waitFor();
  await ana.evaluate(() => {
    window.cutOff(false);
    window.dispatchEvent(new Event('online'));
  });
  await connected(ana);
  await sees(ana, 'written while away');
  await ana.locator('#banner').waitFor({ state: 'hidden' });
  await ana.locator('#outbox .message').waitFor({ state: 'detached' });
  const missed = Array.from({ length: 20 }, (_, i) => `missed ${i + 1}`);
  assert.deepEqual(await texts(ana), ['before', ...missed, 'written while away']);
  await sees(beto, 'written while away');
  assert.deepEqual(await texts(beto), await texts(ana));
  ana.complaints.length = 0; // The handshakes that failed, as intended.
});
