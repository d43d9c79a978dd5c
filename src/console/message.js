// One message on screen, and what is beside it: picture, ticks, day. It keeps no state of its own.
import { text } from './texts.js';
import { dayOf, fullTimeOf, initialsOf, instantOf, nameOf, sameDay, timeOf } from './words.js';

const GROUP_MS = 5 * 60_000;
const TICKS = { sending: '⋯', accepted: '✓', stored: '✓✓', failed: '!' };
/** Lines that are shown of a long text; it is folded when it has clearly more. */
const FOLDED_LINES = 16;
/** Without what ends a sentence or turns letters around. */
const ADDRESS = /(https?:\/\/[^\s\p{DI}<>"]*[^\s\p{DI}<>"'.,;:!?)\]}…»”’])/u;
const LINE_CHARS = 36;

/** An element with attributes and children; strings become text nodes, never markup. */
export function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

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
  const time = element('time', { datetime: at.toISOString(), title: fullTimeOf(at) }, timeOf(at));
  const meta = element('span', { class: 'meta' }, time);
  const words = element('div', { class: 'text' }, ...linked(content));
  const bubble = element('div', { class: 'bubble' }, words, meta);
  if (linesOf(content) > FOLDED_LINES) bubble.insertBefore(folding(words), meta);
  const title = text('user_id', { id: String(user_id) });
  const author = element('bdi', { class: 'author', title }, nameOf(message));
  const item = element('li', { class: 'message', 'data-user-id': user_id },
    avatar(message), element('div', { class: 'content' }, author, bubble));
  author.style.setProperty('--hue', hueOf(user_id));
  item.dataset.at = at.getTime();
  item.dataset.username = username;
  if (!state) return item;
  item.dataset.own = '';
  meta.append(element('span', { class: 'tick', 'aria-hidden': 'true' }),
    element('span', { class: 'sr-only' }));
  mark(item, state);
  return item;
}

// Addresses of the web become links, and stay what was written: a link that says one thing and
// leads to another is none.
function linked(content) {
  return content.split(ADDRESS).map((part, i) => {
    if (i % 2 === 0 || !URL.canParse(part)) return part;
    const rel = 'noopener noreferrer nofollow';
    return element('a', { href: part, target: '_blank', rel }, part);
  });
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
  const button = element('button', { type: 'button', class: 'fold', 'aria-expanded': 'false' },
    text('show_all'));
  words.dataset.folded = '';
  button.onclick = () => {
    const folded = words.toggleAttribute('data-folded');
    button.setAttribute('aria-expanded', String(!folded));
    button.textContent = text(folded ? 'show_all' : 'show_less');
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
  tick.textContent = TICKS[state];
  tick.title = text(state);
  tick.nextElementSibling.textContent = text(state);
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
  if (!isSameDay) item.prepend(element('div', { class: 'day' }, dayOf(at, Date.now())));
}

/** Calls each day by its name of now. */
export function renameDays(list) {
  const now = Date.now();
  for (const day of list.querySelectorAll('.day')) {
    const name = dayOf(Number(day.parentElement.dataset.at), now);
    if (day.textContent !== name) day.textContent = name;
  }
}
