// What a screen reader says of the conversation: few messages word by word, many as a number, so
// that a busy space doesn't talk without end.
import { say, text } from './texts.js';
import { nameOf } from './words.js';

/** Time that a screen reader has for what was announced last. */
const REST_MS = 3_000;
const WORD_BY_WORD_MAX = 2;
const CHARS_MAX = 200;

export class Announcer {
  #node;
  #waiting = [];
  #timer = null;

  /** @param {Element} node a live region */
  constructor(node) {
    this.#node = node;
    node.textContent = '';
  }

  heard(message) {
    this.#waiting.push(message);
    this.#timer ??= setTimeout(() => this.#announce(), 0);
  }

  end() {
    clearTimeout(this.#timer);
  }

  #announce() {
    const messages = this.#waiting.splice(0);
    this.#timer = null;
    if (!messages.length) return;
    this.#timer = setTimeout(() => this.#announce(), REST_MS);
    const count = messages.length;
    if (count > WORD_BY_WORD_MAX) return say(this.#node, () => text('new_messages', { count }));
    this.#node.textContent = messages.map((message) => text('heard', {
      name: nameOf(message), content: shortened(message.content),
    })).join('\n');
  }
}

/** The begin of a long text. */
export function shortened(content) {
  const chars = [...content.slice(0, CHARS_MAX * 2)];
  return chars.length > CHARS_MAX ? `${chars.slice(0, CHARS_MAX).join('')}…` : content;
}
