// A small hub in memory that speaks cpi-hub.v1, for working on the page without the server:
//   node mock-hub.mjs [port]
// It holds no rule of its own: what it answers is what the wire contract says, or less.
import { createServer } from 'node:http';
import { existsSync, readFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { pathToFileURL } from 'node:url';
import { WebSocketServer } from 'ws';

const CONSOLE = new URL('../../src/console/', import.meta.url);
const KINDS = {
  html: 'text/html; charset=utf-8', css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8', ts: 'text/plain; charset=utf-8',
};
const FILE = /^\/(?:client\/)?[\w.-]+\.(html|css|js|ts)$/;
const CSP = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data: https:; "
  + "base-uri 'none'; frame-ancestors 'none'";
const MESSAGE_BYTES_MAX = 512;
const CONTENT_CHARS_MAX = 1000;
const ANNOUNCE_MEMBERS_MAX = 500;
const RESUME_MAX = Number(process.env.RESUME_MAX ?? 10_000);
const BURST = 100;
const RATE_PER_S = 50;
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

let lastMs = 0;
let lastTail = 0n;
function ulid() {
  const ms = Date.now();
  if (ms > lastMs) [lastMs, lastTail] = [ms, BigInt(`0x${randomBytes(9).toString('hex')}`)];
  else lastTail += 1n;
  let value = (BigInt(lastMs) << 80n) | lastTail;
  let text = '';
  for (let i = 0; i < 26; i++, value >>= 5n) text = ALPHABET[Number(value & 31n)] + text;
  return text;
}

const wallClock = () => new Date(Date.now() - 3 * 3600e3).toISOString().replace('Z', '000-03:00');
const spaces = new Map();
function spaceOf(id) {
  if (!spaces.has(id)) {
    spaces.set(id, { id, messages: [], members: new Set(), nonces: new Map(), floor: ulid() });
  }
  return spaces.get(id);
}
const newest = (space) => space.messages.at(-1)?.id ?? space.floor;
const wrap = (type, data) => JSON.stringify({ type, data, timestamp: wallClock() });
function envelope(type, member, extra = {}) {
  const { space: { id: space_id }, user_id } = member;
  const data = { space_id, user_id, username: '' };
  return JSON.stringify({ type, data, timestamp: wallClock(), user_id, space_id, ...extra });
}
function fanOut(space, text) {
  for (const member of space.members) member.socket.send(text);
}

function publish(space, { user_id, username, content, image = '' }) {
  const timestamp = wallClock();
  const data = { id: ulid(), content, user_id, username, space_id: space.id, timestamp, image };
  space.messages.push(data);
  fanOut(space, chatFrame(data));
  return data;
}
function chatFrame(data) {
  const { timestamp, user_id, space_id, image } = data;
  const outer = { type: 'chat', data, timestamp, user_id, space_id };
  return JSON.stringify(image ? { ...outer, image } : outer);
}

function announce(space, type, member) {
  if (space.members.size <= ANNOUNCE_MEMBERS_MAX) {
    fanOut(space, envelope(type, member, type === 'join' ? { username: member.username } : {}));
  } else fanOut(space, wrap('presence', { space_id: space.id, members: space.members.size }));
}

function join(socket, space, { user_id, username, after }) {
  const member = { socket, space, user_id, username, tokens: BURST, filledAt: Date.now() };
  space.members.add(member);
  socket.send(wrap('welcome', {
    connection_id: `0-0-${space.members.size}`, space_id: space.id, user_id, username,
    position: newest(space), members: space.members.size, message_bytes_max: MESSAGE_BYTES_MAX,
    content_chars_max: CONTENT_CHARS_MAX, ping_period_ms: 54_000,
  }));
  if (after) {
    const all = space.messages.filter(({ id }) => id > after);
    const missed = all.slice(-RESUME_MAX);
    for (const data of missed) socket.send(chatFrame(data));
    const ahead = after > newest(space);
    const cut = all.length > missed.length ? all[all.length - missed.length - 1].id : after;
    const from = ahead ? newest(space) : cut;
    const resumed = { from, to: newest(space), count: missed.length, complete: from === after };
    const reason = ahead ? 'ahead' : 'too_many';
    socket.send(wrap('resumed', from === after ? resumed : { ...resumed, reason }));
  }
  announce(space, 'join', member);
  socket.on('message', (bytes) => receive(member, bytes.toString()));
  socket.on('error', () => {});
  socket.on('close', () => {
    space.members.delete(member);
    announce(space, 'leave', member);
  });
}

function receive(member, text) {
  const { space, socket, user_id, username } = member;
  const refuse = (code, message, more) => socket.send(JSON.stringify({
    type: 'error', data: { code, message, ...more }, timestamp: wallClock(), user_id,
    space_id: space.id,
  }));
  let frame;
  try { frame = JSON.parse(text); } catch { /* refused below */ }
  if (frame?.type === 'ping') return socket.send(envelope('pong', member));
  if (frame?.type !== 'chat') return refuse('unknown_message_type', 'Unknown message type');
  const { content, nonce, ack, image } = frame.data;
  const now = Date.now();
  member.tokens = Math.min(BURST, member.tokens + (now - member.filledAt) / 1000 * RATE_PER_S);
  member.filledAt = now;
  const known = space.nonces.get(`${user_id} ${nonce}`);
  if (!known && member.tokens < 1) {
    const hint = { ref: nonce, retry_after_ms: 2500 };
    return refuse('rate_limited', 'demasiados mensajes, espera un momento', hint);
  }
  member.tokens -= 1;
  if ([...content].length > CONTENT_CHARS_MAX) {
    return refuse('content_too_long', 'el mensaje es demasiado largo', { ref: nonce });
  }
  const { id } = known ?? publish(space, { user_id, username, content, image });
  if (!nonce) return;
  space.nonces.set(`${user_id} ${nonce}`, { id });
  const duplicate = Boolean(known);
  socket.send(wrap('ack', { nonce, id, level: 'accepted', duplicate }));
  if (ack !== 'durable') return;
  const stored = () => socket.send(wrap('ack', { nonce, id, level: 'durable', duplicate }));
  setTimeout(stored, 150);
}

function kick(space, path) {
  const user_id = Number(path.replace('members/', ''));
  const found = [...space.members].filter((member) => member.user_id === user_id);
  for (const { socket } of found) {
    socket.send(wrap('closing', { code: 4009, reason: 'kicked' }));
    socket.close(4009, 'kicked');
  }
  return found.length;
}

function history(space, query) {
  const [after, before] = [query.get('after'), query.get('before')];
  const limit = Math.min(100, Number(query.get('limit') ?? 50));
  const range = space.messages.filter(({ id }) => !(id <= after) && !(id >= before));
  const data = after ? range.slice(0, limit) : range.slice(-limit);
  return { data, has_more: data.length < range.length };
}

function presence(space) {
  const users = new Map();
  for (const { user_id, username } of space.members) {
    const user = users.get(user_id) ?? { user_id, username, connections: 0 };
    users.set(user_id, { ...user, connections: user.connections + 1 });
  }
  const sorted = [...users.values()].sort((a, b) => a.user_id - b.user_id);
  return { space_id: space.id, members: space.members.size, users: sorted, truncated: false };
}

async function answer(request, response) {
  const { pathname, searchParams } = new URL(request.url, 'http://hub');
  const json = (status, body) => {
    response.writeHead(status, { 'Content-Type': 'application/json' });
    response.end(`${JSON.stringify(body)}\n`);
  };
  const name = pathname === '/' ? '/index.html' : pathname;
  if (FILE.test(name) && existsSync(new URL(`.${name}`, CONSOLE))) {
    const type = KINDS[FILE.exec(name)[1]];
    response.writeHead(200, { 'Content-Type': type, 'Content-Security-Policy': CSP });
    return response.end(readFileSync(new URL(`.${name}`, CONSOLE)));
  }
  if (pathname === '/v1/spaces') {
    const data = [...spaces.values()].filter(({ members }) => members.size)
      .map(({ id, members }) => ({ space_id: id, members: members.size }))
      .sort((a, b) => b.members - a.members);
    return json(200, { data, total: data.length });
  }
  const [, id, what] = pathname.match(/^\/v1\/(?:ws\/)?spaces\/(-?\d+)(?:\/(.+))?$/) ?? [];
  if (id === undefined) return json(404, { status_code: 404, message: '404 page not found' });
  const space = spaceOf(Number(id));
  if (request.method === 'DELETE') return json(200, { closed: kick(space, what) });
  if (what === 'messages') return json(200, history(space, searchParams));
  if (what === 'presence') return json(200, presence(space));
  if (what === 'chat' && request.method === 'POST') {
    let body = '';
    for await (const chunk of request) body += chunk;
    const { message, ...rest } = JSON.parse(body);
    const key = `${rest.user_id} ${request.headers['idempotency-key']}`;
    const known = space.nonces.get(key);
    const chat_message = known ?? publish(space, { ...rest, content: message });
    if (request.headers['idempotency-key']) space.nonces.set(key, chat_message);
    if (known) response.setHeader('Idempotency-Replayed', 'true');
    const status = request.headers.prefer === 'respond-async' ? 202 : 200;
    return json(status, { chat_message, message: 'Mensaje enviado exitosamente' });
  }
  const message = 'Error upgrading WebSocket connection';
  return json(400, { status_code: 400, message, code: 'invalid_parameter' });
}

/** Starts a hub; resolves {url, close()}. */
export function startHub(port = 0) {
  const server = createServer(answer);
  const sockets = new WebSocketServer({
    noServer: true, maxPayload: MESSAGE_BYTES_MAX, handleProtocols: () => 'cpi-hub.v1',
  });
  server.on('upgrade', (request, stream, head) => {
    const { pathname, searchParams } = new URL(request.url, 'http://hub');
    const id = pathname.match(/^\/v1\/ws\/spaces\/(-?\d+)$/)?.[1];
    if (id === undefined) return stream.destroy();
    const user_id = Number(searchParams.get('user_id'));
    const username = searchParams.get('username') || `User${user_id}`;
    const after = searchParams.get('after');
    sockets.handleUpgrade(request, stream, head, (socket) => {
      join(socket, spaceOf(Number(id)), { user_id, username, after });
    });
  });
  return new Promise((resolve) => server.listen(port, '127.0.0.1', () => resolve({
    url: `http://127.0.0.1:${server.address().port}`,
    close: () => {
      for (const socket of sockets.clients) socket.terminate();
      server.closeAllConnections();
      server.close();
    },
  })));
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { url } = await startHub(Number(process.argv[2] ?? 0));
  console.log(url);
}
