// The draft, its counter and what came of sending it.
import { has, say, text } from './texts.js';

const COUNTER_FROM = 0.7;
/** Time to read why: the hub often asks for a few milliseconds only. */
const BLOCK_MIN_MS = 1_000;
const ANNOUNCE_MS = 1_000;

const $ = (id) => document.getElementById(id);

/** The words for an error's code. */
export function refusalOf(code) {
  return has(`refused_${code}`) ? text(`refused_${code}`) : text('refused_other', { code });
}

/** Shows the seconds that are left in an element; `ended` runs once at the end. */
export class Countdown {
  #timer = null;

  /** Steady time, since the wall clock may be set while it runs. */
  run(ms, node, key, ended) {
    this.end(node);
    const until = performance.now() + ms;
    const tick = () => {
      const seconds = Math.ceil((until - performance.now()) / 1000);
      node.textContent = seconds > 0 ? text(key, { count: seconds }) : '';
      if (seconds > 0) return;
      clearInterval(this.#timer);
      ended?.();
    };
    this.#timer = setInterval(tick, 250);
    tick();
  }

  end(node) {
    clearInterval(this.#timer);
    if (node) node.textContent = '';
  }
}

export class Composer {
  #measure; #send; #drafted;
  #blockedUntil = 0;
  #announcing = null;
  #countdown = new Countdown();

  /**
   * @param {{measure: (text: string) => ?object, send: (text: string) => void,
   *   drafted: (text: string) => void}} means `measure` gives null while it isn't known what the
   *   hub takes; `drafted` is told each draft
   */
  constructor({ measure, send, drafted }) {
    this.#measure = measure;
    this.#send = send;
    this.#drafted = drafted;
  }

  submit() {
    const content = $('draft').value;
    if (!content.trim() || this.#isBlocked()) return;
    const size = this.#measure(content);
    if (!size) return this.say(() => text('refused_closed'));
    const count = size.chars - size.charsMax;
    if (!size.fits) return this.say(() => text('too_long_by', { count }));
    this.say(null);
    this.#write('');
    this.#send(content);
  }

  /** Puts a text back where it was written, unless something else stands there by now. */
  restore(content) {
    if ($('draft').value) return false;
    this.#write(content);
    return true;
  }

  /** Begins with the draft that was left. */
  begin(content) {
    this.#write(content);
  }

  #write(content) {
    $('draft').value = content;
    this.changed();
  }

  /** The draft has changed. */
  changed() {
    this.#drafted($('draft').value);
    this.count();
  }

  /** Says why a message was not sent, and holds the next ones back for a while. */
  refused(words, retryAfterMs) {
    this.say(words);
    if (!retryAfterMs) return;
    const ms = Math.max(retryAfterMs, BLOCK_MIN_MS);
    this.#blockedUntil = Math.max(this.#blockedUntil, performance.now() + ms);
    const left = this.#blockedUntil - performance.now();
    this.#countdown.run(left, $('composer-countdown'), 'send_again_in', () => this.say(null));
    this.count();
  }

  /** Shows words above the draft; null takes them away. */
  say(words) {
    if (!words && $('composer-error').hidden) return;
    say($('composer-error-text'), words ?? (() => ''));
    $('composer-error').hidden = !words;
    if (!words) this.#countdown.end($('composer-countdown'));
    this.count();
  }

  /** The counter, the button and the height of the field. */
  count() {
    const [draft, counter] = [$('draft'), $('counter')];
    this.#fit(draft);
    const size = this.#measure(draft.value);
    const blocked = !size?.fits || !draft.value.trim() || this.#isBlocked();
    $('send-button').setAttribute('aria-disabled', String(blocked));
    const { chars = 0, charsMax = null } = size ?? {};
    const shown = charsMax !== null && chars >= charsMax * COUNTER_FROM;
    const over = charsMax !== null && chars > charsMax;
    counter.toggleAttribute('data-over', over);
    const key = over ? 'chars_over' : 'chars_left';
    const words = () => (shown ? text(key, { count: Math.abs(charsMax - chars) }) : '');
    say(counter, words);
    this.#announce(words);
  }

  // As high as its text. While that is measured the form keeps its height: a conversation that is
  // larger for an instant would be scrolled by it.
  #fit(draft) {
    if (!draft.value) {
      draft.style.height = '';
      return;
    }
    const form = $('composer');
    form.style.height = `${form.offsetHeight}px`;
    draft.style.height = 'auto';
    draft.style.height = `${draft.scrollHeight}px`;
    form.style.height = '';
  }

  end() {
    this.say(null);
    clearTimeout(this.#announcing);
  }

  #isBlocked() {
    return performance.now() < this.#blockedUntil;
  }

  // Not after each key: once the typing rests.
  #announce(words) {
    clearTimeout(this.#announcing);
    this.#announcing = setTimeout(() => say($('counter-live'), words), ANNOUNCE_MS);
  }
}
