// A browser, people in it, and a hub to talk to, for the tests of the page.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { after, before } from 'node:test';
import { fileURLToPath } from 'node:url';
import axe from 'axe-core';
import { chromium } from 'playwright-core';

export const { HUB_URL, CHROMIUM = '/usr/bin/chromium' } = process.env;
if (!HUB_URL) {
  console.error('HUB_URL is not set: run scripts/test, which starts a hub for this test');
  process.exit(1);
}
const PICTURES = fileURLToPath(new URL('../../artifacts/browser/', import.meta.url));
export const PHONE = {
  viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true,
};
export const DESKTOP = { viewport: { width: 1200, height: 800 } };
export const WAIT = { timeout: 15_000 };
let browser;

before(async () => {
  mkdirSync(PICTURES, { recursive: true });
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
});
after(() => browser?.close());

export const newSpace = () => Math.floor(1e6 + Math.random() * 2e9);

/** A person with a browser of their own; what the page complains about fails the test. */
export async function person(t, options = DESKTOP) {
  const context = await browser.newContext({ reducedMotion: 'reduce', ...options });
  t.after(() => context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT.timeout);
  page.complaints = [];
  page.on('pageerror', (error) => page.complaints.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error' && !message.text().includes('WebSocket connection')) {
      page.complaints.push(message.text());
    }
  });
  t.after(() => assert.deepEqual(page.complaints, [], 'the console has no errors'));
  // The sockets of the page, so that a test can cut them, and a way to keep it cut off.
  await page.addInitScript(() => {
    const sockets = [];
    window.cutOff = (off) => {
      window.isCutOff = off;
      if (off) sockets.at(-1).close(4999);
    };
    window.WebSocket = class extends WebSocket {
      constructor(url, protocols) {
        super(window.isCutOff ? 'ws://127.0.0.1:9/' : url, protocols);
        sockets.push(this);
      }
    };
  });
  return page;
}

export async function join(page, space, username) {
  await page.goto(new URL('/', HUB_URL).href);
  await page.getByLabel('Your name').fill(username);
  await page.getByLabel('Space number').fill(String(space));
  await page.getByRole('button', { name: 'Join space' }).click();
  await connected(page);
}

export const connected = (page) => page.locator('#status[data-state="open"]').waitFor();
export const texts = (page) => page.locator('#messages .message .text').allTextContents();
export const sees = (page, text) => (
  page.locator('#messages .text', { hasText: text }).first().waitFor());
export const notices = (page, text) => (
  page.locator('#messages .notice', { hasText: text }).waitFor());
export const shot = (page, name) => page.screenshot({ path: `${PICTURES}${name}.png` });

export async function say(page, text) {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await page.keyboard.press('Enter');
}

/** The person looks at another tab or window, or back at the page. */
export const lookAway = (page, away) => page.evaluate((hidden) => {
  Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
  document.hasFocus = () => !hidden;
  document.dispatchEvent(new Event('visibilitychange'));
  if (!hidden) dispatchEvent(new Event('focus'));
}, away);

/** Whether the end of the conversation is in sight. */
export const atTheEnd = (page) => page.waitForFunction(() => {
  const { scrollHeight, clientHeight, scrollTop } = document.querySelector('#scroller');
  return scrollHeight - clientHeight - scrollTop < 2;
});

/** What axe finds that is more than a matter of taste. */
export async function findings(page) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => window.axe.run(document));
  const where = ({ html, any }) => `${html} ${any[0]?.message ?? ''}`;
  return violations.filter(({ impact }) => impact !== 'minor')
    .map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map(where).join('; ')}`);
}

/** Posts over HTTP, waiting as long as the hub asks when it is too fast. */
export async function post(space, message, from = { user_id: 4242, username: 'Historia' }) {
  for (;;) {
    const response = await fetch(new URL(`/v1/ws/spaces/${space}/chat`, HUB_URL), {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ space_id: space, message, ...from }),
    });
    const body = await response.text();
    if (response.ok) return JSON.parse(body).chat_message;
    assert.ok([429, 503].includes(response.status), body);
    const seconds = Number(response.headers.get('Retry-After') ?? 1);
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  }
}

export async function postMany(space, count, name = 'line') {
  for (let i = 1; i <= count; i++) await post(space, `${name} ${i}`);
}
