// Going from message to message by keyboard, and what can be done with one: a few buttons, which
// are beside the message under the pointer, with the focus, or under the finger.
import { addressOf, copy } from './copying.js';
import { element, icon } from './element.js';
import { say, text } from './texts.js';

const ICONS = {
  copy_text: 'M9 9h10v11H9zM5 15V4h10',
  copy_message_link: 'M10 14a4.2 4.2 0 0 0 6 0l3-3a4.2 4.2 0 0 0-6-6l-1 1'
    + 'M14 10a4.2 4.2 0 0 0-6 0l-3 3a4.2 4.2 0 0 0 6 6l1-1',
};
/** Names for where the whole one has no room. */
const SHORT = { copy_message_link: 'copy_link' };

export class Actions {
  #scroller; #list; #space; #leave;
  #bar;
  #of = null;
  /** Whether the person last used the keyboard: then what has the focus keeps the buttons. */
  #byKeyboard = false;
  /** Whether the buttons are where they are because of a mouse. */
  #isPointed = false;

  /**
   * @param {{scroller: Element, list: Element}} parts
   * @param {{space: number, leave: () => void, signal: AbortSignal}} means `leave`: where the
   *   focus goes behind the last message
   */
  constructor({ scroller, list }, { space, leave, signal }) {
    this.#scroller = scroller;
    this.#list = list;
    this.#space = space;
    this.#leave = leave;
    this.#bar = this.#makeBar();
    const on = (type, run) => scroller.addEventListener(type, run, { signal });
    on('pointerdown', () => { this.#byKeyboard = false; });
    // Not by `pointerover`: what scrolls by under a pointer at rest is not pointed at.
    on('pointermove', (event) => this.#point(event));
    on('pointerleave', () => { if (this.#isPointed) this.#show(null); });
    on('focusin', ({ target }) => this.#focused(target));
    on('click', (event) => this.#tapped(event));
    on('keydown', (event) => this.#key(event));
  }

  #makeBar() {
    const bar = element('div', { class: 'actions', role: 'group' });
    say(bar, () => text('message_actions'), 'aria-label');
    const runs = {
      copy_text: () => copy(this.#wordsOf(this.#of), 'text_copied', 'copy_text_by_hand'),
      copy_message_link: () => copy(
        addressOf(this.#space, this.#of.dataset.id), 'copied', 'copy_by_hand'),
    };
    for (const [key, run] of Object.entries(runs)) {
      const button = element('button', { type: 'button', 'data-action': key }, icon(ICONS[key]),
        say(element('span'), () => text(SHORT[key] ?? key)));
      say(button, () => text(key), 'title');
      say(button, () => text(key), 'aria-label');
      button.onclick = run;
      bar.append(button);
    }
    return bar;
  }

  #wordsOf(item) { return item.querySelector('.text').textContent; }

  #messageOf(node) {
    const item = node.closest?.('.message') ?? null;
    return item?.dataset.id && this.#list.contains(item) ? item : null;
  }

  #show(item, isTouch = false) {
    if (item === this.#of && this.#bar.isConnected) return;
    this.#of = item;
    this.#isPointed = false;
    this.#bar.toggleAttribute('data-touch', isTouch);
    if (!item) this.#bar.remove();
    else if (isTouch) item.querySelector('.content').append(this.#bar);
    else item.querySelector('.bubble').append(this.#bar);
  }

  #point({ target, pointerType }) {
    if (pointerType !== 'mouse') return;
    this.#show(this.#messageOf(target));
    this.#isPointed = true;
  }

  // The label says at once what a screen reader would gather from many parts.
  #focused(target) {
    const item = this.#messageOf(target);
    if (item === target) {
      const [name, time] = ['.author', 'time'].map((part) => item.querySelector(part).textContent);
      const content = this.#wordsOf(item);
      item.setAttribute('aria-label', text('message_label', { name, time, content }));
    }
    if (item && this.#byKeyboard) this.#show(item);
  }

  #tapped({ pointerType, target }) {
    if (pointerType !== 'touch' || target.closest('a,button')) return;
    if (String(getSelection())) return;
    const item = this.#messageOf(target);
    const isAgain = item === this.#of && this.#bar.isConnected;
    this.#show(isAgain ? null : item, true);
  }

  #key(event) {
    const { key, target, ctrlKey, altKey, metaKey, shiftKey } = event;
    this.#byKeyboard = true;
    if (ctrlKey || altKey || metaKey || shiftKey) return;
    const item = this.#messageOf(target);
    if (key === 'Escape' && item) {
      this.#show(null);
      this.#leave();
    }
    const step = { ArrowUp: -1, ArrowDown: 1 }[key];
    if (!step || (target !== this.#scroller && !item)) return;
    if (item && this.#goesOn(item, step)) return;
    event.preventDefault();
    if (item) this.#go(item, step);
    else this.focusNewest();
  }

  // A message that is larger than the screen is scrolled through first.
  #goesOn(item, step) {
    const [seen, box] = [this.#scroller, item].map((node) => node.getBoundingClientRect());
    if (box.height <= seen.height) return false;
    return step > 0 ? box.bottom > seen.bottom : box.top < seen.top;
  }

  #go(item, step) {
    let next = item;
    do next = step > 0 ? next.nextElementSibling : next.previousElementSibling;
    while (next && !next.dataset.id);
    if (next) this.#focus(next);
    else if (step > 0) this.#leave();
  }

  /** Gives the focus to the last message in sight; false: there is none. */
  focusNewest() {
    const { bottom } = this.#scroller.getBoundingClientRect();
    const items = [...this.#list.querySelectorAll(':scope > .message')];
    const item = items.findLast((it) => it.getBoundingClientRect().top < bottom);
    if (item) this.#focus(item);
    return Boolean(item);
  }

  #focus(item) {
    this.#byKeyboard = true;
    item.focus({ preventScroll: true });
    item.scrollIntoView({ block: 'nearest' });
    this.#show(item);
  }
}
