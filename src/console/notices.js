// Lines between the messages: who came and who left. Many in a row become one line.
import { element } from './element.js';
import { nodes, say, text } from './texts.js';

const ROW_MAX = 6;

export class Notices {
  #list;

  constructor(list) {
    this.#list = list;
  }

  /** Adds a line such as "Ana joined" at the end; `isOwn`: about the person, and never folded. */
  add(key, name, isOwn) {
    const line = element('li', { class: 'notice' });
    line.toggleAttribute('data-self', isOwn);
    this.#list.append(say(line, () => nodes(key, { name })));
    this.#fold(line);
  }

  #fold(last) {
    const row = [];
    let line = last;
    for (; line?.matches('.notice:not([data-self])'); line = line.previousElementSibling) {
      row.push(line);
    }
    if (row.length <= ROW_MAX) return;
    const [next, oldest] = [row.at(-2), row.at(-1)];
    const count = Number(oldest.dataset.count ?? 1) + 1;
    oldest.dataset.count = count;
    say(oldest, () => text('notices_more', { count }));
    next.remove();
  }
}
