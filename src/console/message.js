// One message on screen, and what is beside it: picture, ticks, day. It keeps no state of its own.
import { element, icon } from './element.js';
import { picturesOf } from './pictures.js';
import { say, sayAgain, text } from './texts.js';
import {
  dayOf, fullTimeOf, initialsOf, instantOf, isFewEmoji, nameOf, sameDay, timeOf,
} from './words.js';

const GROUP_MS = 5 * 60_000;
/** What is drawn for each state of an own message: a clock, one tick, two, an exclamation mark. */
const TICKS = {
  sending: 'M12 3.5a8.5 8.5 0 1 0 .01 0M12 7.5V12l3 2',
  accepted: 'M5 12.5 10 17.5 19.5 7',
  stored: 'M1.5 12.5l5 5L16 7M11.5 16.5l1 1L22 7',
  failed: 'M12 5v9M12 18.5v.01',
};
/** Lines that are shown of a long text; it is folded when it has clearly more. */
const FOLDED_LINES = 16;
const LINE_CHARS = 36;
const ADDRESS = /https?:\/\/[^\s\p{DI}<>"]+/gu;
/** What may end a sentence behind an address; a closing bracket may be the address's own. */
const ENDS = /['.,;:!?…»”’]/;
const BRACKETS = { ')': '(', ']': '[', '}': '{' };

/** A round picture, or initials on a colour of one's own. */
export function avatar({ user_id, username, image = '' }) {
  const initials = initialsOf(nameOf({ user_id, username }));
  const node = element('span', { class: 'avatar', 'aria-hidden': 'true' }, initials);
  node.style.setProperty('--hue', hueOf(user_id));
  if (/^(https:|data:image\/)/.test(image)) {
    const picture = element('img', { alt: '', loading: 'lazy', referrerpolicy: 'no-referrer' });
    picture.onerror = () => picture.replaceWith(initials);
    picture.src = image;
    node.replaceChildren(picture);
  }
  return node;
}

const hueOf = (id) => Math.abs(Math.imul(Number(id) + 1, 2654435761) >> 8) % 360;

/** The list item of a message; own ones have a `state`. */
export function render(message, state) {
  const { user_id, username, content } = message;
  const at = instantOf(message.timestamp);
  const time = element('time', { datetime: at.toISOString() });
  say(time, () => timeOf(at));
  say(time, () => fullTimeOf(at), 'title');
  const meta = element('span', { class: 'meta' }, time);
  const pieces = piecesOf(content);
  const words = element('div', { class: 'text' }, ...pieces.map(shownOf));
  const bubble = element('div', { class: 'bubble' }, words, meta);
  if (linesOf(content) > FOLDED_LINES) bubble.insertBefore(folding(words), meta);
  if (isFewEmoji(content)) bubble.dataset.emoji = '';
  const pictures = picturesOf(pieces.filter((piece) => piece instanceof URL));
  const item = element('li', { class: 'message', tabindex: '-1', 'data-user-id': user_id },
    avatar(message), element('div', { class: 'content' }, authorOf(message, state), bubble,
      ...pictures));
  item.dataset.at = at.getTime();
  item.dataset.username = username;
  if (!state) return item;
  item.dataset.own = '';
  meta.append(element('span', { class: 'tick', 'aria-hidden': 'true' }),
    element('span', { class: 'sr-only' }));
  mark(item, state);
  return item;
}

function authorOf(message, isOwn) {
  const author = element('bdi', { class: 'author' });
  if (isOwn) return say(author, () => text('you'));
  say(author, () => nameOf(message));
  say(author, () => text('user_id', { id: String(message.user_id) }), 'title');
  author.style.setProperty('--hue', hueOf(message.user_id));
  return author;
}

// Addresses of the web, as URLs, and what stands between them, as text.
function piecesOf(content) {
  const pieces = [];
  let from = 0;
  for (const { 0: found, index } of content.matchAll(ADDRESS)) {
    const address = withoutEnd(found);
    const url = URL.canParse(address) ? new URL(address) : null;
    // A name before an `@` looks like the host that the link leads to, and is not.
    if (!url || url.username || url.password) continue;
    pieces.push(content.slice(from, index), Object.assign(url, { written: address }));
    from = index + address.length;
  }
  pieces.push(content.slice(from));
  return pieces;
}

function withoutEnd(address) {
  const counts = {};
  for (const char of address) counts[char] = (counts[char] ?? 0) + 1;
  let end = address.length;
  for (; end > 0; end--) {
    const last = address[end - 1];
    const opening = BRACKETS[last];
    const isLoose = opening && counts[last] > (counts[opening] ?? 0);
    if (!isLoose && !ENDS.test(last)) break;
    counts[last] -= 1;
  }
  return address.slice(0, end);
}

// Addresses become links, and stay what was written: a link that says one thing and leads to
// another is none.
function shownOf(piece) {
  if (!(piece instanceof URL)) return piece;
  const { href, written } = piece;
  const rel = 'noopener noreferrer nofollow';
  const link = element('a', { href, target: '_blank', rel }, written);
  if (href !== written && href !== `${written}/`) link.title = href;
  return link;
}

// An estimate for a narrow screen; where all of it fits, the style sheet's fold cuts nothing.
function linesOf(content) {
  let lines = 0;
  for (const line of content.split(/\r\n|[\n\r\u2028\u2029]/)) {
    lines += Math.max(1, Math.ceil(line.length / LINE_CHARS));
  }
  return lines;
}

function folding(words) {
  const button = element('button', { type: 'button', class: 'fold', 'aria-expanded': 'false' });
  const isFolded = () => words.dataset.folded !== undefined;
  words.dataset.folded = '';
  say(button, () => text(isFolded() ? 'show_all' : 'show_less'));
  button.onclick = () => {
    const folded = words.toggleAttribute('data-folded');
    button.setAttribute('aria-expanded', String(!folded));
    say(button, () => text(isFolded() ? 'show_all' : 'show_less'));
  };
  return button;
}

/** Where a text turns out to fit, nothing is left to unfold. */
export function unfoldIfWhole(item) {
  const words = item.querySelector('[data-folded]');
  if (!words || words.scrollHeight > words.clientHeight + 1) return;
  delete words.dataset.folded;
  words.nextElementSibling.remove();
}

/** Sets the state of an own message. */
export function mark(item, state) {
  item.dataset.state = state;
  const tick = item.querySelector('.tick');
  if (!tick) return;
  tick.replaceChildren(icon(TICKS[state]));
  say(tick, () => text(state), 'title');
  say(tick.nextElementSibling, () => text(state));
}

/** What came of a message that was not taken, below it, with buttons for what to do. */
export function fail(item, reason, actions = {}) {
  mark(item, 'failed');
  const line = element('div', { class: 'failure' }, say(element('span'), reason));
  for (const [key, run] of Object.entries(actions)) {
    const button = say(element('button', { type: 'button' }), () => text(key));
    button.onclick = () => { if (run() !== false) item.remove(); };
    line.append(button);
  }
  item.querySelector('.content').append(line);
}

/** Groups a message with those above it: by day and author. */
export function decorate(item) {
  if (!item?.dataset.at) return;
  const at = Number(item.dataset.at);
  const above = item.previousElementSibling;
  let last = above;
  while (last && !last.dataset.at) last = last.previousElementSibling;
  const isSameDay = last && sameDay(Number(last.dataset.at), at);
  const grouped = isSameDay && last === above && last.dataset.userId === item.dataset.userId
    && last.dataset.username === item.dataset.username && at - last.dataset.at < GROUP_MS;
  item.toggleAttribute('data-first', !grouped);
  item.querySelector('.day')?.remove();
  if (!isSameDay) item.prepend(say(element('div', { class: 'day' }), () => dayOf(at, Date.now())));
}

/** Calls each day by its name of now. */
export const renameDays = (list) => sayAgain(list, '.day');
