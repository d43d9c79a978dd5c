// permessage-deflate with an implementation that others have made (ws, on the zlib of Node): each
// message once and in order, compressed both ways, whatever window the client asks for.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { RealHub } from './real-hub.mjs';
import { until } from './support.mjs';

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
  const [all, ...compressed] = members.map(({ socket, before }) => socket._socket.bytesRead - before);
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
