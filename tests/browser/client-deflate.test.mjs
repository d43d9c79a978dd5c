// permessage-deflate with implementations that others have made (ws, on the zlib of Node, and
// Chromium's): each message once and in order, compressed both ways, whatever window is asked for.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { chromium } from 'playwright-core';
import { WebSocket } from 'ws';
import { RealHub } from './real-hub.mjs';
import { until } from './support.mjs';

const { CHROMIUM = '/usr/bin/chromium' } = process.env;
const skip = existsSync(CHROMIUM) ? false : 'there is no Chromium';
const WORDS = 'who compresses what many people read pays once and saves many times over'.split(' ');

/** A text of so many words, another one for each number. */
function text(number, words) {
  return Array.from({ length: words }, (_, at) => WORDS[(number * 7 + at * at) % WORDS.length])
    .join(' ');
}

/** A member whose messages are kept. */
async function join(t, hub, userId, perMessageDeflate) {
  const url = `ws://127.0.0.1:${hub.port}/v1/ws/spaces/1?user_id=${userId}`;
  const socket = new WebSocket(url, 'cpi-hub.v1', { perMessageDeflate });
  t.after(() => socket.terminate());
  const member = { socket, chats: [], closed: null };
  socket.on('message', (data) => {
    const { type, data: chat } = JSON.parse(data);
    if (type === 'chat') member.chats.push(chat.content);
  });
  socket.on('close', (code, reason) => { member.closed = `${code} ${reason}`; });
  await new Promise((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', reject);
  });
  member.before = socket._socket.bytesRead;
  return member;
}

test('ws reads and says all messages compressed, with each window', async (t) => {
  const settings = { compression: 6, message_bytes_max: 4_096 };
  const hub = await RealHub.start(t, { settings });
  const plain = await join(t, hub, 1, false);
  assert.equal(plain.socket.extensions, '');
  const members = [plain];
  for (const [at, options] of [
    { threshold: 0 },
    { threshold: 0, serverMaxWindowBits: 9, clientMaxWindowBits: 9 },
    { threshold: 0, serverMaxWindowBits: 12, clientMaxWindowBits: 15 },
    { threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true },
  ].entries()) {
    const member = await join(t, hub, 2 + at, options);
    assert.match(member.socket.extensions, /permessage-deflate/);
    members.push(member);
  }
  const said = [];
  for (let number = 0; number < 200; number += 1) {
    // Up to the thousand characters that a chat may have, so that windows matter.
    const content = `${number} ${text(number, 1 + number % 150)}`.slice(0, 1_000);
    said.push(content);
    const { socket } = members[number % members.length];
    socket.send(JSON.stringify({ type: 'chat', data: { content } }));
    await until('it is heard', () => members.every(({ chats }) => chats.length === said.length));
  }
  for (const { chats, closed } of members) {
    assert.deepEqual(chats, said);
    assert.equal(closed, null);
  }
  const [all, ...compressed] = members
    .map(({ socket, before }) => socket._socket.bytesRead - before);
  for (const bytes of compressed) assert.ok(bytes * 3 < all * 2, `${bytes} of ${all}`);
});

test('a bomb of another zlib stops at the limit', async (t) => {
  const hub = await RealHub.start(t, { settings: { compression: 1 } });
  const member = await join(t, hub, 1, { threshold: 0 });
  member.socket.send('a'.repeat(400_000));
  await until('it is closed', () => member.closed !== null);
  assert.equal(member.closed, '1009 message_too_big');
  const off = await RealHub.start(t);
  const plain = await join(t, off, 1, { threshold: 0 });
  assert.equal(plain.socket.extensions, '', 'off, nothing is agreed on');
});

test('a browser agrees by itself, and hears and says the same', { skip }, async (t) => {
  const hub = await RealHub.start(t, { settings: { compression: 6 } });
  const listener = await join(t, hub, 1, { threshold: 0 });
  const browser = await chromium.launch({
    executablePath: CHROMIUM, args: ['--headless', '--no-sandbox', '--disable-gpu'],
  });
  t.after(() => browser.close());
  const tab = await browser.newPage();
  await tab.goto(`${hub.url}/livez`);
  await tab.evaluate(async () => {
    const socket = new WebSocket(`ws://${window.location.host}/v1/ws/spaces/1?user_id=2`);
    window.heard = [];
    window.socket = socket;
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === 'chat') window.heard.push(message.data.content);
    };
    await new Promise((resolve, reject) => {
      [socket.onopen, socket.onerror] = [resolve, reject];
    });
  });
  assert.match(await tab.evaluate(() => window.socket.extensions), /^permessage-deflate/);
  const said = Array.from({ length: 60 }, (_, number) => `${number} ${text(number, 40)}`);
  for (const [at, content] of said.entries()) {
    const chat = JSON.stringify({ type: 'chat', data: { content } });
    if (at % 2) await tab.evaluate((frame) => window.socket.send(frame), chat);
    else listener.socket.send(chat);
    await until('it is heard', () => listener.chats.length === at + 1);
  }
  await tab.waitForFunction((count) => window.heard.length === count, said.length);
  assert.deepEqual(await tab.evaluate(() => window.heard), said);
  assert.deepEqual(listener.chats, said);
  const figures = await (await fetch(`${hub.url}/metrics`)).text();
  const [from, to] = ['input', 'output'].map((which) => (
    Number(figures.match(new RegExp(`^hub_deflate_${which}_bytes_total (\\d+)`, 'm'))[1])));
  assert.ok(from > 0 && to * 3 < from * 2, `${to} of ${from}`);
});
