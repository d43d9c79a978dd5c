// The conversation on screen: messages in the order of their ids, grouped by author and day, with
// a bounded DOM that can be scrolled through all of the history. It knows nothing of sockets.

/** Items kept in the DOM; over it (by TRIM_SLACK) the far end is dropped and read again later. */
export const RENDERED_MAX = 1000;
const TRIM_SLACK = 50;
const PAGE = 50;
const NEAR_PX = 400;
const BOTTOM_PX = 40;
const GROUP_MS = 5 * 60_000;
const TICKS = {
  sending: ['⋯', 'Sending'],
  accepted: ['✓', 'Sent'],
  stored: ['✓✓', 'Stored'],
  failed: ['!', 'Not sent'],
};
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const longDay = new Intl.DateTimeFormat('en', { weekday: 'long', day: 'numeric', month: 'long' });
const fullTime = new Intl.DateTimeFormat('en', { dateStyle: 'full', timeStyle: 'medium' });

/** An element with attributes and children; strings become text nodes, never markup. */
export function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** A round picture, or initials on a colour of one's own. */
export function avatar({ user_id, username, image = '' }) {
  const initials = username.split(/\s+/).map((word) => [...word][0] ?? '').join('').slice(0, 2);
  const node = element('span', { class: 'avatar', 'aria-hidden': 'true' }, initials || '?');
  node.style.setProperty('--hue', hueOf(user_id));
  if (/^(https:|data:image\/)/.test(image)) {
    const picture = element('img', { alt: '', loading: 'lazy', referrerpolicy: 'no-referrer' });
    picture.onerror = () => picture.replaceWith(initials || '?');
    picture.src = image;
    node.replaceChildren(picture);
  }
  return node;
}

const hueOf = (id) => Math.abs(Math.imul(Number(id) + 1, 2654435761) >> 8) % 360;

export class Timeline {
  #parts; #history; #userId;
  #items = new Map();
  #sending = new Map();
  #tail = [];
  #newest = '';
  #hasOlder = false;
  #detached = false;
  #following = true;
  #loading = false;
  #broken = false;
  #unseen = 0;
  #epoch = 0;
  #listening = new AbortController();

  /**
   * @param {object} parts elements {scroller, list, outbox, pill, historyState, empty}
   * @param {{userId: number, history: (range: object) => Promise<object>}} source
   */
  constructor(parts, { userId, history }) {
    this.#parts = parts;
    this.#userId = userId;
    this.#history = history;
    parts.list.replaceChildren();
    parts.outbox.replaceChildren();
    const { signal } = this.#listening;
    parts.scroller.addEventListener('scroll', () => this.#scrolled(), { signal, passive: true });
    parts.pill.addEventListener('click', () => this.toNewest(), { signal });
    const resized = new ResizeObserver(() => { if (this.#following) this.#toBottom(); });
    resized.observe(parts.scroller);
    signal.addEventListener('abort', () => resized.disconnect());
    this.#refresh();
  }

  /** Stops listening; the elements can be given to another timeline. */
  end() {
    this.#listening.abort();
    this.#epoch += 1;
  }

  /** Forgets what is shown; scrolling up reads history before what comes next. */
  clear() {
    this.#parts.list.replaceChildren();
    this.#items.clear();
    this.#tail = [];
    this.#epoch += 1;
    this.#loading = false;
    this.#detached = false;
    this.#hasOlder = true;
    this.#refresh();
  }

  /** Shows the newest page of history. @returns {Promise<?string>} its last id, if any */
  async open() {
    const epoch = this.#epoch;
    const { messages, hasMore } = await this.#history({ limit: PAGE });
    if (epoch !== this.#epoch) return null;
    this.#hasOlder = hasMore;
    for (const message of messages) this.#insert(message, 'stored', null);
    this.#newest = messages.at(-1)?.id ?? this.#newest;
    this.#refresh();
    this.#toBottom();
    this.#scrolled();
    return this.#newest || null;
  }

  /** Says that history could not be read; only the button tries again, not each scroll. */
  failed() {
    this.#broken = true;
    this.#hasOlder = true;
    this.#say('Older messages could not be loaded.', 'Try again');
  }

  /** Reads more history if what is shown doesn't fill the screen. */
  readOn() {
    this.#scrolled();
  }

  /** A message that arrived, in the order of ids. */
  add(message) {
    this.#newest = message.id;
    const sent = [...this.#sending.values()].find((item) => item.dataset.id === message.id);
    const state = sent?.dataset.state ?? (message.history ? 'stored' : 'accepted');
    sent?.remove();
    if (sent) this.#sending.delete(sent.dataset.nonce);
    if (this.#detached) {
      this.#tail.push(message);
      if (this.#tail.length > RENDERED_MAX) this.#tail.shift();
    } else {
      this.#insert(message, state, null).dataset.live = '';
    }
    this.#arrived(message.user_id !== this.#userId);
  }

  /** A line such as "Ana joined", where the conversation is now. */
  notice(text) {
    if (this.#detached) return;
    this.#parts.list.append(element('li', { class: 'notice' }, text));
    this.#arrived(false);
  }

  /** An own message on its way. */
  send(nonce, content, username) {
    const message = { content, username, user_id: this.#userId, timestamp: Date.now() };
    const item = this.#render(message, 'sending');
    item.dataset.nonce = nonce;
    item.dataset.first = '';
    this.#sending.set(nonce, item);
    this.#parts.outbox.append(item);
    this.toNewest();
  }

  /** The hub's word on an own message: `accepted` or `stored`. */
  sent(nonce, id, state) {
    const item = this.#sending.get(nonce);
    const shown = this.#items.get(id);
    if (shown) mark(shown, state);
    if (item && id <= this.#newest) {
      item.remove();
      this.#sending.delete(nonce);
    } else if (item) {
      item.dataset.id = id;
      mark(item, state);
    }
    this.#refresh();
  }

  /** An own message that was refused: kept in sight with `actions` ({label: run}), or removed. */
  refused(nonce, reason, actions) {
    const item = this.#sending.get(nonce);
    if (!item) return;
    this.#sending.delete(nonce);
    if (!actions) item.remove();
    else {
      mark(item, 'failed');
      const line = element('div', { class: 'failure' }, element('span', {}, reason));
      for (const [label, run] of Object.entries(actions)) {
        const button = element('button', { type: 'button' }, label);
        button.onclick = () => { if (run() !== false) item.remove(); };
        line.append(button);
      }
      item.querySelector('.content').append(line);
    }
    this.#refresh();
    if (this.#following) this.#toBottom();
  }

  /** A message that had been accepted and that the store then refused. */
  unstored(id, reason) {
    const item = this.#items.get(id);
    if (!item || item.dataset.state === 'failed') return;
    mark(item, 'failed');
    item.querySelector('.content').append(element('div', { class: 'failure' }, reason));
  }

  /** Goes to the end of the conversation, reading it again if it had been dropped. */
  async toNewest() {
    this.#unseen = 0;
    this.#following = true;
    if (this.#detached) {
      const tail = this.#tail;
      this.clear();
      await this.open().catch(() => this.failed());
      for (const message of tail) this.#insert(message, 'accepted', null);
      this.#newest = tail.at(-1)?.id ?? this.#newest;
    }
    this.#refresh();
    this.#toBottom();
  }

  #arrived(counts) {
    if (counts && !this.#following) this.#unseen += 1;
    this.#trim();
    this.#refresh();
    if (this.#following) requestAnimationFrame(() => { if (this.#following) this.#toBottom(); });
  }

  #scrolled() {
    const { scroller } = this.#parts;
    const below = scroller.scrollHeight - scroller.clientHeight - scroller.scrollTop;
    this.#following = below < BOTTOM_PX && !this.#detached;
    if (this.#following) this.#unseen = 0;
    this.#refresh();
    if (this.#broken) return;
    if (scroller.scrollTop < NEAR_PX) this.#older();
    if (below < NEAR_PX && this.#detached) this.#newer();
  }

  #older() {
    if (!this.#hasOlder) return;
    const first = this.#parts.list.querySelector('.message');
    return this.#load({ before: first?.dataset.id }, ({ messages, hasMore }) => {
      this.#keepPlace(() => {
        this.#hasOlder = hasMore;
        this.#say('');
        const top = this.#parts.list.firstElementChild;
        for (const message of messages) this.#insert(message, 'stored', top);
        if (first) this.#decorate(first);
      });
    });
  }

  #newer() {
    const last = [...this.#parts.list.querySelectorAll('.message')].at(-1);
    return this.#load({ after: last?.dataset.id }, ({ messages, hasMore }) => {
      for (const message of messages) this.#insert(message, 'stored', null);
      if (hasMore) return;
      this.#detached = false;
      for (const message of this.#tail.splice(0)) this.#insert(message, 'accepted', null);
    });
  }

  async #load(range, show) {
    if (this.#loading) return;
    this.#loading = true;
    if (range.before) this.#keepPlace(() => this.#say('Loading older messages…'));
    this.#parts.list.setAttribute('aria-busy', 'true');
    const epoch = this.#epoch;
    const page = await this.#history({ ...range, limit: PAGE }).catch(() => null);
    if (epoch !== this.#epoch) return;
    if (page) show(page);
    else this.failed();
    this.#trim();
    this.#parts.list.removeAttribute('aria-busy');
    this.#loading = false;
    if (page?.messages.length) this.#scrolled();
    this.#refresh();
  }

  #insert(message, state, before) {
    const known = this.#items.get(message.id);
    if (known) return known;
    const item = this.#render(message, message.user_id === this.#userId ? state : '');
    item.dataset.id = message.id;
    this.#items.set(message.id, item);
    this.#parts.list.insertBefore(item, before ?? this.#placeOf(message.id));
    this.#decorate(item);
    if (!before && item.nextElementSibling) this.#decorate(item.nextElementSibling);
    return item;
  }

  // From the end: what arrives is nearly always the newest.
  #placeOf(id) {
    let place = null;
    for (let node = this.#parts.list.lastElementChild; node; node = node.previousElementSibling) {
      if (node.dataset.id < id) return place;
      if (node.dataset.id > id) place = node;
    }
    return place;
  }

  #render(message, state) {
    const at = new Date(message.timestamp);
    const time = element('time', { datetime: at.toISOString(), title: fullTime.format(at) },
      clock.format(at));
    const meta = element('span', { class: 'meta' }, time);
    const bubble = element('div', { class: 'bubble' },
      element('div', { class: 'text' }, message.content), meta);
    const author = element('span', { class: 'author', dir: 'auto' }, message.username);
    const item = element('li', { class: 'message', 'data-user-id': message.user_id },
      avatar(message), element('div', { class: 'content' }, author, bubble));
    author.style.setProperty('--hue', hueOf(message.user_id));
    item.dataset.at = at.getTime();
    item.dataset.username = message.username;
    if (!state) return item;
    item.dataset.own = '';
    meta.append(element('span', { class: 'tick', 'aria-hidden': 'true' }),
      element('span', { class: 'sr-only' }));
    mark(item, state);
    return item;
  }

  #decorate(item) {
    if (!item.dataset.at) return;
    const at = Number(item.dataset.at);
    const above = item.previousElementSibling;
    let last = above;
    while (last && !last.dataset.at) last = last.previousElementSibling;
    const sameDay = last && sameDate(Number(last.dataset.at), at);
    const grouped = sameDay && last === above && last.dataset.userId === item.dataset.userId
      && last.dataset.username === item.dataset.username && at - last.dataset.at < GROUP_MS;
    item.toggleAttribute('data-first', !grouped);
    item.querySelector('.day')?.remove();
    if (!sameDay) item.prepend(element('div', { class: 'day' }, dayName(at)));
  }

  #trim() {
    const { list, scroller } = this.#parts;
    const over = list.childElementCount - RENDERED_MAX;
    if (over < TRIM_SLACK) return;
    const upper = !this.#following && scroller.scrollTop < scroller.scrollHeight / 2;
    const drop = () => {
      for (let left = over; left > 0; left--) {
        const item = upper ? list.lastElementChild : list.firstElementChild;
        this.#items.delete(item.dataset.id);
        item.remove();
      }
    };
    if (upper) {
      drop();
      this.#detached = true;
      return;
    }
    this.#hasOlder = true;
    const dropAbove = () => { drop(); this.#decorate(list.firstElementChild); };
    if (this.#following) dropAbove();
    else this.#keepPlace(dropAbove);
  }

  // What is above the screen may grow or shrink; the distance to the end is what stays.
  #keepPlace(change) {
    const { scroller } = this.#parts;
    const left = scroller.scrollHeight - scroller.scrollTop;
    change();
    scroller.scrollTop = scroller.scrollHeight - left;
  }

  #toBottom() {
    this.#parts.scroller.scrollTop = this.#parts.scroller.scrollHeight;
  }

  #say(text, action) {
    const { historyState } = this.#parts;
    historyState.replaceChildren(text);
    historyState.hidden = !text;
    if (!action) return;
    const button = element('button', { type: 'button' }, action);
    button.onclick = () => {
      this.#broken = false;
      this.#older();
    };
    historyState.append(button);
  }

  #refresh() {
    const { outbox, pill, empty } = this.#parts;
    empty.hidden = this.#hasOlder || this.#items.size + outbox.childElementCount > 0;
    pill.hidden = this.#following || (this.#unseen === 0 && !this.#detached);
    const many = this.#unseen === 1 ? '1 new message' : `${this.#unseen} new messages`;
    pill.textContent = this.#unseen ? `${many} ↓` : 'Back to the newest ↓';
  }
}

function mark(item, state) {
  item.dataset.state = state;
  const [sign, words] = TICKS[state];
  const tick = item.querySelector('.tick');
  if (!tick) return;
  tick.textContent = sign;
  tick.title = words;
  tick.nextElementSibling.textContent = words;
}

function sameDate(a, b) {
  return new Date(a).toDateString() === new Date(b).toDateString();
}

function dayName(at) {
  if (sameDate(at, Date.now())) return 'Today';
  if (sameDate(at, Date.now() - 86_400_000)) return 'Yesterday';
  const date = new Date(at);
  const year = date.getFullYear() === new Date().getFullYear() ? '' : ` ${date.getFullYear()}`;
  return longDay.format(date) + year;
}
