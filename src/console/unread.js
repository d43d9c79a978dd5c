// What of the conversation the person has not read: how much, since which message, and the line
// that shows where it begins. It knows messages by their ids, and nothing of sockets or storage.
import { element } from './element.js';
import { decorate } from './message.js';
import { say, text } from './texts.js';

export class Unread {
  #list; #userId; #changed;
  #read;
  #count = 0;
  /** Id of the last message before the line; '' while there is no line. */
  #since = '';
  /** Messages behind the line, and whether there are more than these. */
  #behind = 0;
  #more = false;
  /** All behind the line was seen since: the next unread message begins a line of its own. */
  #isSeen = true;
  /** The person knows of the line: it was in sight. */
  #isTold = false;
  #line = element('li', { class: 'unread' });

  /**
   * @param {Element} list of messages
   * @param {{userId: number, read: string, changed: (unread: {read: string}) => void}} person
   */
  constructor(list, { userId, read, changed }) {
    this.#list = list;
    this.#userId = userId;
    this.#read = read;
    this.#changed = changed;
    this.#line.append(say(element('span'), () => text('unread_line')));
  }

  get read() { return this.#read; }
  /** Messages of others that were not seen yet. */
  get count() { return this.#count; }
  get since() { return this.#since; }
  /** Messages behind the line, as they were counted when they came. */
  get behind() { return this.#behind; }
  get hasMore() { return this.#more; }
  get isTold() { return this.#isTold; }
  /** The line, where it is among what is shown; else null. */
  get line() { return this.#line.isConnected ? this.#line : null; }

  /** The newest page, when the conversation is opened; `hasOlder`: there are pages before it. */
  begin(messages, hasOlder) {
    const newest = messages.at(-1)?.id ?? '';
    const unread = messages.filter((message) => message.id > this.#read && !this.#isOwn(message));
    if (!this.#read || !unread.length) return this.seen(newest);
    this.#since = this.#read;
    this.#count = this.#behind = unread.length;
    this.#more = hasOlder && messages[0].id > this.#read;
    this.#isSeen = false;
    this.#changed(this);
  }

  /** A message came behind `before`. @returns {boolean} whether a line begins with it */
  arrived(message, before, isWatched) {
    if (isWatched || this.#isOwn(message)) {
      this.seen(message.id);
      return false;
    }
    const begins = this.#isSeen;
    if (begins) {
      this.dismiss();
      this.#since = before || '0';
      this.#isSeen = false;
    }
    this.#count += 1;
    this.#behind += 1;
    this.#changed(this);
    return begins;
  }

  /** The line was in sight. */
  tell() { this.#isTold = true; }

  /** All up to this message was before the person's eyes. */
  seen(id) {
    if (id <= this.#read && !this.#count) return;
    this.#isSeen = true;
    this.#count = 0;
    if (id > this.#read) this.#read = id;
    this.#changed(this);
  }

  /** The line has done its work. */
  dismiss() {
    this.#since = '';
    this.#behind = 0;
    this.#more = false;
    this.#isTold = false;
    this.#takeAway();
  }

  /** Puts the line before the first unread message, if that is among what is shown. */
  place(hasOlder) {
    if (!this.#since) return;
    let [first, boundary] = [null, null];
    for (const item of this.#list.querySelectorAll(':scope > .message')) {
      if (item.dataset.id <= this.#since) boundary = item;
      else if (item.dataset.own === undefined) {
        first = item;
        break;
      }
    }
    if (first && first.previousElementSibling === this.#line) return;
    this.#takeAway();
    if (!first || (!boundary && hasOlder)) return;
    first.before(this.#line);
    decorate(first);
  }

  #takeAway() {
    const next = this.#line.nextElementSibling;
    this.#line.remove();
    decorate(next);
  }

  #isOwn({ user_id }) { return user_id === this.#userId; }
}
