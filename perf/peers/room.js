// What the JavaScript servers share: reading a client's chat, and the frames that go out. The
// frames are the hub's to the byte, so that the same bytes travel.

// As the hub has them; messages above are refused.
export const MESSAGE_BYTES_MAX = 512;
const CONTENT_CHARS_MAX = 1000;
// Above so many members joins and leaves are not announced one by one.
export const ANNOUNCE_MEMBERS_MAX = Number(process.env.ANNOUNCE_MEMBERS_MAX ?? 500);
// What a member may be behind before it is closed.
export const BACKLOG_BYTES_MAX = 1024 * 1024;

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const OFFSET_MS = 3 * 60 * 60 * 1000;

// ULIDs that ascend: within a millisecond the random part counts up.
let lastMs = 0;
let timePart = '';
let counter = 0;
let randomHead = '';

function ulid(now) {
  if (now > lastMs) {
    lastMs = now;
    timePart = '';
    for (let rest = now, place = 0; place < 10; place += 1) {
      timePart = ALPHABET[rest % 32] + timePart;
      rest = Math.floor(rest / 32);
    }
    randomHead = '';
    for (let place = 0; place < 10; place += 1) {
      randomHead += ALPHABET[Math.floor(Math.random() * 32)];
    }
    counter = Math.floor(Math.random() * 2 ** 20);
  }
  counter += 1;
  let tail = '';
  for (let rest = counter, place = 0; place < 6; place += 1) {
    tail = ALPHABET[rest % 32] + tail;
    rest = Math.floor(rest / 32);
  }
  return timePart + randomHead + tail;
}

// Buenos Aires' clock in six digits, as the hub writes it.
function timestamp(now) {
  return `${new Date(now - OFFSET_MS).toISOString().slice(0, 23)}000-03:00`;
}

// The identity that a connection's URL gives: {space, user, username}; null if it is not one.
export function seatOf(path, query) {
  const space = Number(/^\/v1\/ws\/spaces\/(-?\d+)$/.exec(path)?.[1] ?? Number.NaN);
  const parameters = new URLSearchParams(query);
  const user = Number(parameters.get('user_id') ?? Number.NaN);
  if (!Number.isInteger(space) || !Number.isInteger(user)) return null;
  return { space, user, username: parameters.get('username') || `User${user}` };
}

// The chat frame for a client's parsed message; null if it is no good chat.
export function chatFrame(seat, message) {
  const content = message?.data?.content;
  if (message?.type !== 'chat' || typeof content !== 'string') return null;
  if (content.length === 0 || content.length > CONTENT_CHARS_MAX) return null;
  const now = Date.now();
  const at = timestamp(now);
  return {
    type: 'chat',
    data: {
      id: ulid(now),
      content,
      user_id: seat.user,
      username: seat.username,
      space_id: seat.space,
      timestamp: at,
      image: '',
    },
    timestamp: at,
    user_id: seat.user,
    space_id: seat.space,
  };
}

// The same for a client's text; null if it is too long, no JSON or no chat.
export function chatOfText(seat, text) {
  let message;
  try {
    message = JSON.parse(text);
  } catch {
    return null;
  }
  const frame = chatFrame(seat, message);
  return frame && JSON.stringify(frame);
}

function presence(type, { space, user, username }) {
  return {
    type,
    data: { space_id: space, user_id: user, username: '' },
    timestamp: timestamp(Date.now()),
    user_id: user,
    space_id: space,
    ...(type === 'join' ? { username } : {}),
  };
}

export const joinFrame = (seat) => presence('join', seat);
export const leaveFrame = (seat) => presence('leave', seat);

export const PORT = Number(process.env.PORT);
export const HOST = '127.0.0.1';
