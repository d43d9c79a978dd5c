// The conversation on screen: messages in the order of their ids, grouped by author and day, with
// a bounded DOM that can be scrolled through all of the history. It knows nothing of sockets.
import { decorate, element, mark, render, renameDays, unfoldIfWhole } from './message.js';
import { nodes, text } from './texts.js';
import { untilMidnight } from './words.js';

/** Items kept in the DOM; over it (by TRIM_SLACK) the far end is dropped and read again later. */
export const RENDERED_MAX = 1000;
const TRIM_SLACK = 50;
const PAGE = 50;
const NEAR_PX = 400;
const BOTTOM_PX = 40;
/** More than rounding, less than a finger's move. */
const MOVED_PX = 2;
/** Timers are late after a sleep and off after a change of the clock: ask the clock at least so. */
const DAY_CHECK_MS = 3_600_000;

export class Timeline {
  #parts; #history; #userId;
  #items = new Map();
  #sending = new Map();
  #tail = [];
  #newest = '';
  #hasOlder = false;
  #detached = false;
  /** Whether the end stays in sight: until the person scrolls up, and from the end on again. */
  #following = true;
  #top = 0;
  /** Whether the end is more than a screen away. */
  #far = false;
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
    document.addEventListener('visibilitychange', () => renameDays(parts.list), { signal });
    this.#keepDays(signal);
    this.#refresh();
  }

  #keepDays(signal) {
    renameDays(this.#parts.list);
    const ms = Math.min(DAY_CHECK_MS, untilMidnight(Date.now()) + 1_000);
    const timer = setTimeout(() => this.#keepDays(signal), ms);
    signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
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
    this.#parts.scroller.setAttribute('aria-busy', 'true');
    for (const message of messages) this.#insert(message, 'stored', null);
    requestAnimationFrame(() => this.#parts.scroller.removeAttribute('aria-busy'));
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
    this.#say(text('older_failed'), text('try_again'));
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
    if (this.#detached) {
      this.#tail.push(message);
      if (this.#tail.length > RENDERED_MAX) this.#tail.shift();
    } else {
      this.#insert(message, state, null).dataset.live = '';
    }
    // Behind the insertion: a list that shrinks for an instant would be scrolled up by itself.
    sent?.remove();
    if (sent) this.#sending.delete(sent.dataset.nonce);
    this.#arrived(message.user_id !== this.#userId);
  }

  /** A line such as "Ana joined", where the conversation is now. */
  notice(key, name) {
    if (this.#detached) return;
    this.#parts.list.append(element('li', { class: 'notice' }, ...nodes(key, { name })));
    this.#arrived(false);
  }

  /** An own message on its way. */
  send(nonce, content, username) {
    const message = { content, username, user_id: this.#userId, timestamp: Date.now() };
    const item = render(message, 'sending');
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

  // What arrived since the last scroll is below the screen too, and nobody scrolled up for that:
  // only a move up ends the following, only a move down (or the very end) begins it.
  #scrolled() {
    const { scroller } = this.#parts;
    const below = scroller.scrollHeight - scroller.clientHeight - scroller.scrollTop;
    const moved = scroller.scrollTop - this.#top;
    this.#top = scroller.scrollTop;
    this.#far = below > scroller.clientHeight;
    if (this.#detached) this.#following = false;
    else if (below < MOVED_PX || (moved > 0 && below < BOTTOM_PX)) this.#following = true;
    else if (moved < 0 && below > MOVED_PX) this.#following = false;
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
        if (first) decorate(first);
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
    if (range.before) this.#keepPlace(() => this.#say(text('older_loading')));
    this.#parts.scroller.setAttribute('aria-busy', 'true');
    const epoch = this.#epoch;
    const page = await this.#history({ ...range, limit: PAGE }).catch(() => null);
    if (epoch !== this.#epoch) return;
    if (page) show(page);
    else this.failed();
    this.#trim();
    this.#parts.scroller.removeAttribute('aria-busy');
    this.#loading = false;
    if (page?.messages.length) this.#scrolled();
    this.#refresh();
  }

  #insert(message, state, before) {
    const known = this.#items.get(message.id);
    if (known) return known;
    const item = render(message, message.user_id === this.#userId ? state : '');
    item.dataset.id = message.id;
    this.#items.set(message.id, item);
    this.#parts.list.insertBefore(item, before ?? this.#placeOf(message.id));
    decorate(item);
    if (!before) decorate(item.nextElementSibling);
    if (item.querySelector('[data-folded]')) this.#measureFold(item);
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

  #measureFold(item) {
    requestAnimationFrame(() => {
      const { scroller } = this.#parts;
      const change = () => unfoldIfWhole(item);
      const isAbove = item.getBoundingClientRect().bottom < scroller.getBoundingClientRect().top;
      if (isAbove && !this.#following) this.#keepPlace(change);
      else change();
      if (this.#following) this.#toBottom();
    });
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
    const dropAbove = () => { drop(); decorate(list.firstElementChild); };
    if (this.#following) dropAbove();
    else this.#keepPlace(dropAbove);
  }

  // What is above the screen may grow or shrink; the distance to the end is what stays.
  #keepPlace(change) {
    const { scroller } = this.#parts;
    const left = scroller.scrollHeight - scroller.scrollTop;
    change();
    scroller.scrollTop = scroller.scrollHeight - left;
    this.#top = scroller.scrollTop;
  }

  #toBottom() {
    const { scroller } = this.#parts;
    scroller.scrollTop = scroller.scrollHeight;
    this.#top = scroller.scrollTop;
  }

  #say(words, action) {
    const { historyState } = this.#parts;
    historyState.replaceChildren(words);
    historyState.hidden = !words;
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
    const away = this.#unseen > 0 || this.#detached || this.#far;
    pill.hidden = this.#following || !away;
    const key = this.#unseen ? 'new_messages' : 'back_to_newest';
    pill.firstElementChild.textContent = text(key, { count: this.#unseen });
  }
}
