// The conversation on screen: messages in the order of their ids, grouped by author and day, with
// a bounded DOM that can be scrolled through all of the history. It knows nothing of sockets.
import { element } from './element.js';
import { decorate, fail, mark, render, renameDays, unfoldIfWhole } from './message.js';
import { Notices } from './notices.js';
import { Scroll } from './scroll.js';
import { say, text } from './texts.js';
import { Unread } from './unread.js';
import { untilMidnight } from './words.js';

/** Items kept in the DOM; over it (by TRIM_SLACK) the far end is dropped and read again later. */
export const RENDERED_MAX = 400;
/** Messages that came live and are known without asking history again. */
const RECENT_MAX = 1000;
const TRIM_SLACK = 50;
const PAGE = 50;
const NEAR_PX = 400;
const NOWHERE = '0'.repeat(26);
/** How far down the screen a message is put that the person asked for. */
const SHARE = 0.3;
const SOUGHT_MS = 3_000;
/** Timers are late after a sleep and off after a change of the clock: ask the clock at least so. */
const DAY_CHECK_MS = 3_600_000;

/** Whether the person has the page before them, and not another window or tab. */
export const isLookedAt = () => !document.hidden && document.hasFocus();

export class Timeline {
  #parts; #history; #userId; #scroll; #unread; #notices;
  #items = new Map();
  #sending = new Map();
  #recent = [];
  /** Id of the newest message that fell out of `#recent`. */
  #forgotten = '';
  #newest = '';
  #hasOlder = false;
  /** Whether what is shown ends before the conversation does. */
  #detached = false;
  #opening = true;
  #loading = false;
  #broken = false;
  #epoch = 0;
  #ending = new AbortController();

  /**
   * @param {object} parts elements {scroller, list, outbox, pill, historyState, empty, skeleton,
   *   unreadBar, unreadText, unreadJump, unreadRead}
   * @param {{userId: number, read: string, changed: (unread: Unread) => void,
   *   history: (range: object) => Promise<object>}} source `read`: id of the last message that the
   *   person read; `changed`: more or less is unread
   */
  constructor(parts, { userId, read, changed, history }) {
    this.#parts = parts;
    this.#userId = userId;
    this.#history = history;
    parts.list.replaceChildren();
    parts.outbox.replaceChildren();
    this.#unread = new Unread(parts.list, { userId, read, changed });
    this.#notices = new Notices(parts.list);
    const { signal } = this.#ending;
    this.#scroll = new Scroll(parts.scroller, {
      hasMore: () => this.#detached, moved: () => this.#scrolled(), signal,
    });
    this.#listen(signal);
    this.#say(null);
    this.#keepDays(signal);
    this.#refresh();
    this.#refreshBar();
  }

  #listen(signal) {
    const { pill, list, unreadJump, unreadRead } = this.#parts;
    pill.addEventListener('click', () => this.toNewest(), { signal });
    unreadJump.addEventListener('click', () => this.#toUnread(), { signal });
    unreadRead.addEventListener('click', () => this.#dismissUnread(), { signal });
    addEventListener('focus', () => this.#looked(), { signal });
    document.addEventListener('visibilitychange', () => {
      renameDays(list);
      this.#looked();
    }, { signal });
  }

  #keepDays(signal) {
    renameDays(this.#parts.list);
    const ms = Math.min(DAY_CHECK_MS, untilMidnight(Date.now()) + 1_000);
    const timer = setTimeout(() => this.#keepDays(signal), ms);
    signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
  }

  /** Stops listening; the elements can be given to another timeline. */
  end() {
    this.#ending.abort();
    this.#epoch += 1;
  }

  /** Whether own messages are on their way. */
  get isSending() { return this.#sending.size > 0; }

  /** Forgets what is shown; scrolling up reads history before what comes next. */
  clear() {
    this.#parts.list.replaceChildren();
    this.#items.clear();
    this.#epoch += 1;
    this.#opening = false;
    this.#loading = false;
    this.#detached = false;
    this.#hasOlder = true;
    this.#refresh();
  }

  /** Shows the newest page, where the person stopped. @returns {Promise<?string>} its last id */
  async open() {
    const page = await this.#newestPage();
    if (!page) return null;
    this.#unread.begin(page.messages, page.hasMore);
    this.#unread.place(this.#hasOlder);
    this.#toUnreadLine();
    this.#scrolled();
    this.#looked();
    return this.#newest || null;
  }

  async #newestPage() {
    const epoch = this.#epoch;
    const page = await this.#history({ limit: PAGE });
    if (epoch !== this.#epoch) return null;
    this.#opening = false;
    this.#hasOlder = page.hasMore;
    this.#insertAll(page.messages);
    const last = page.messages.at(-1)?.id ?? '';
    if (last > this.#newest) this.#newest = last;
    this.#refresh();
    this.#scroll.toBottom();
    return page;
  }

  /** Says that history could not be read; only the button tries again, not each scroll. */
  failed() {
    this.#broken = true;
    this.#opening = false;
    this.#hasOlder = true;
    this.#say('older_failed', 'try_again');
    this.#refresh();
  }

  /** Reads more history if what is shown doesn't fill the screen. */
  readOn() {
    this.#scrolled();
  }

  /** A message that arrived, in the order of ids. */
  add(message) {
    const before = this.#newest;
    this.#newest = message.id;
    const sent = [...this.#sending.values()].find((item) => item.dataset.id === message.id);
    const state = sent?.dataset.state ?? (message.history ? 'stored' : 'accepted');
    this.#remember(message, state);
    if (!this.#detached) this.#insert(message, state, null).dataset.live = '';
    // Behind the insertion: a list that shrinks for an instant would be scrolled up by itself.
    sent?.remove();
    if (sent) this.#sending.delete(sent.dataset.nonce);
    const begins = this.#unread.arrived(message, before, this.#isWatched);
    if (begins && !this.#detached) this.#unread.place(this.#hasOlder);
    this.#arrived();
  }

  #remember(message, state) {
    this.#recent.push({ message, state });
    if (this.#recent.length > RECENT_MAX) this.#forgotten = this.#recent.shift().message.id;
  }

  get #isWatched() {
    return isLookedAt() && this.#scroll.following && !this.#detached;
  }

  /** A line such as "Ana joined", where the conversation is now. */
  notice(key, name, isOwn = false) {
    if (this.#detached) return;
    this.#notices.add(key, name, isOwn);
    this.#arrived();
  }

  /** An own message on its way. */
  send(nonce, content, username) {
    const message = { content, username, user_id: this.#userId, timestamp: Date.now() };
    const item = render(message, 'sending');
    item.dataset.nonce = nonce;
    item.dataset.first = '';
    this.#sending.set(nonce, item);
    this.#parts.outbox.append(item);
    this.#dismissUnread();
    this.toNewest();
  }

  /** The hub's word on an own message: `accepted` or `stored`. */
  sent(nonce, id, state) {
    const item = this.#sending.get(nonce);
    const shown = this.#items.get(id);
    if (shown) mark(shown, state);
    const recent = this.#recent.findLast(({ message }) => message.id === id);
    if (recent) recent.state = state;
    if (item && id <= this.#newest) {
      item.remove();
      this.#sending.delete(nonce);
    } else if (item) {
      item.dataset.id = id;
      mark(item, state);
    }
    this.#refresh();
  }

  /** An own message that was refused: kept in sight with `actions` ({key: run}), or removed. */
  refused(nonce, reason, actions) {
    const item = this.#sending.get(nonce);
    if (!item) return;
    this.#sending.delete(nonce);
    if (actions) fail(item, reason, actions);
    else item.remove();
    this.#refresh();
    if (this.#scroll.following) this.#scroll.toBottom();
  }

  /** A message that had been accepted and that the store then refused. */
  unstored(id, reason) {
    const item = this.#items.get(id);
    if (item && item.dataset.state !== 'failed') fail(item, reason);
  }

  /** Goes to the end of the conversation, reading it again if it had been dropped. */
  async toNewest() {
    this.#scroll.following = true;
    if (this.#detached) {
      this.clear();
      const page = await this.#newestPage().catch(() => this.failed());
      if (page) this.#catchUp();
      this.#unread.place(this.#hasOlder);
    }
    this.#scroll.toBottomSoon();
    this.#looked();
    this.#refresh();
  }

  /** Brings a message into sight, wherever in history. @returns {Promise<boolean>} is it there */
  async goTo(id) {
    if (!this.#items.has(id)) {
      const last = await this.#history({ before: id, limit: 1 });
      await this.#readFrom(last.messages.at(-1)?.id ?? NOWHERE, id);
    }
    const item = this.#items.get(id);
    if (!item) return false;
    this.#scroll.toNode(item, SHARE);
    item.focus({ preventScroll: true });
    item.dataset.sought = '';
    setTimeout(() => { delete item.dataset.sought; }, SOUGHT_MS);
    this.#scrolled();
    return true;
  }

  // Shows what is behind a position, and something of what is before it; of `wanted`, if it is not
  // the first there, nothing.
  async #readFrom(after, wanted) {
    const epoch = this.#epoch;
    const newer = await this.#history({ after, limit: PAGE });
    const first = newer.messages[0]?.id;
    if (!first || (wanted && wanted !== first)) return;
    const older = await this.#history({ before: first, limit: PAGE / 2 });
    if (epoch !== this.#epoch) return;
    this.clear();
    this.#hasOlder = older.hasMore;
    this.#detached = true;
    this.#insertAll([...older.messages, ...newer.messages]);
    if (!newer.hasMore) this.#catchUp();
    this.#unread.place(this.#hasOlder);
  }

  // History ends where what is shown does: behind it there is only what came since.
  #catchUp() {
    const last = this.#lastShown()?.dataset.id ?? '';
    if (last < this.#forgotten) return;
    this.#detached = false;
    for (const { message, state } of this.#recent) {
      if (message.id > last) this.#insert(message, state, null);
    }
  }

  async #toUnread() {
    const { line, since } = this.#unread;
    if (!line) await this.#readFrom(since).catch(() => this.failed());
    this.#toUnreadLine();
    this.#scrolled();
  }

  #toUnreadLine() {
    const { line } = this.#unread;
    if (line && this.#scroll.placeOf(line) === 'above') this.#scroll.toNode(line, SHARE);
  }

  #dismissUnread() {
    this.#unread.dismiss();
    this.#unread.seen(this.#newest);
    this.#refresh();
    this.#refreshBar();
  }

  #looked() {
    if (this.#isWatched && !this.#opening) this.#unread.seen(this.#newest);
    this.#refresh();
    this.#refreshBar();
  }

  #arrived() {
    this.#trim();
    this.#refresh();
    if (this.#scroll.following) this.#scroll.toBottomSoon();
  }

  #scrolled() {
    this.#looked();
    if (this.#broken || this.#opening) return;
    if (this.#scroll.above < NEAR_PX) this.#older();
    if (this.#scroll.below < NEAR_PX && this.#detached) this.#newer();
  }

  #older() {
    if (!this.#hasOlder) return;
    const first = this.#parts.list.querySelector('.message');
    return this.#load({ before: first?.dataset.id }, ({ messages, hasMore }) => {
      this.#scroll.keepPlace(() => {
        this.#hasOlder = hasMore;
        this.#say(null);
        const top = this.#parts.list.firstElementChild;
        for (const message of messages) this.#insert(message, 'stored', top);
        if (first) decorate(first);
        this.#unread.place(hasMore);
      });
    });
  }

  #newer() {
    return this.#load({ after: this.#lastShown()?.dataset.id }, ({ messages, hasMore }) => {
      this.#insertAll(messages);
      if (!hasMore) this.#catchUp();
      this.#unread.place(this.#hasOlder);
    });
  }

  #lastShown() {
    let item = this.#parts.list.lastElementChild;
    while (item && !item.dataset.id) item = item.previousElementSibling;
    return item;
  }

  async #load(range, show) {
    if (this.#loading) return;
    this.#loading = true;
    if (range.before) this.#scroll.keepPlace(() => this.#say('older_loading'));
    this.#parts.scroller.setAttribute('aria-busy', 'true');
    const epoch = this.#epoch;
    const page = await this.#history({ ...range, limit: PAGE }).catch(() => null);
    this.#parts.scroller.removeAttribute('aria-busy');
    if (epoch !== this.#epoch) return;
    if (page) show(page);
    else this.failed();
    this.#trim();
    this.#loading = false;
    if (page?.messages.length) this.#scrolled();
    this.#refresh();
  }

  #insertAll(messages) {
    for (const message of messages) this.#insert(message, 'stored', null);
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
      const change = () => unfoldIfWhole(item);
      const isAbove = this.#scroll.placeOf(item) === 'above';
      if (isAbove && !this.#scroll.following) this.#scroll.keepPlace(change);
      else change();
      if (this.#scroll.following) this.#scroll.toBottom();
    });
  }

  #trim() {
    const { list, scroller } = this.#parts;
    const over = list.childElementCount - RENDERED_MAX;
    if (over < TRIM_SLACK) return;
    const { following } = this.#scroll;
    const upper = !following && this.#scroll.above < scroller.scrollHeight / 2;
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
    const dropAbove = () => { drop(); decorate(list.querySelector('.message')); };
    if (following) dropAbove();
    else this.#scroll.keepPlace(dropAbove);
  }

  #say(key, action) {
    const { historyState } = this.#parts;
    historyState.replaceChildren(...(key ? [say(element('span'), () => text(key))] : []));
    historyState.hidden = !key;
    if (!action) return;
    const button = say(element('button', { type: 'button' }), () => text(action));
    button.onclick = () => {
      this.#broken = false;
      this.#older();
    };
    historyState.append(button);
  }

  #refresh() {
    const { outbox, pill, empty, skeleton } = this.#parts;
    const isEmpty = this.#items.size + outbox.childElementCount === 0;
    skeleton.hidden = !this.#opening;
    empty.hidden = this.#opening || this.#hasOlder || !isEmpty;
    const { count } = this.#unread;
    const away = count > 0 || this.#detached || this.#scroll.isFar;
    pill.hidden = this.#scroll.following || !away;
    if (pill.hidden) return;
    const key = count ? 'new_messages' : 'back_to_newest';
    say(pill.firstElementChild, () => text(key, { count }));
  }

  // The line above the screen, told at its upper edge until it was in sight.
  #refreshBar() {
    const { unreadBar, unreadText } = this.#parts;
    const { line, behind, hasMore, isTold } = this.#unread;
    const place = line ? this.#scroll.placeOf(line) : '';
    if (place === 'inside' && !isTold && isLookedAt()) this.#unread.tell();
    const isAbove = line ? place === 'above' : hasMore;
    unreadBar.hidden = !behind || this.#unread.isTold || !isAbove;
    const key = hasMore ? 'new_messages_more' : 'new_messages';
    if (!unreadBar.hidden) say(unreadText, () => text(key, { count: behind }));
  }
}
