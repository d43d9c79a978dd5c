// What waits for the store, and what an operator does about it.
import { bytes, el, short } from './parts.js';

const COMMANDS = [
  [
    'Dead letters: list them, and store them once their cause is mended',
    ['cpi-hub dead-letters', 'cpi-hub dead-letters --retry'],
  ],
  ['A copy of the embedded database, while the hub runs', ['cpi-hub backup FILE']],
  ['What the journals hold', ['cpi-hub journal']],
];

export class Store {
  #feed;
  #redraw;
  #numbers = el('dl', { className: 'plain' });

  constructor(feed) {
    this.#feed = feed;
  }

  open(view) {
    view.append(
      el('h2', {}, 'Store'),
      el('section', { className: 'panel' }, this.#numbers),
      el(
        'section',
        {},
        el('h3', {}, 'On the hub’s machine'),
        ...COMMANDS.map(([what, commands]) =>
          el(
            'div',
            {},
            el('p', {}, what),
            ...commands.map((command) => el('p', {}, el('code', {}, command))),
          ),
        ),
      ),
    );
    this.#redraw = () => this.#draw();
    this.#feed.addEventListener('sample', this.#redraw);
    this.#draw();
  }

  close() {
    this.#feed.removeEventListener('sample', this.#redraw);
  }

  #draw() {
    const { last } = this.#feed;
    if (!last) return;
    const { numbers, ready } = last;
    const lines = [
      ['State', ready.store],
      ['Waiting in journals', bytes(numbers.journal_bytes ?? NaN)],
      ['Rows a second', short(numbers.stored ?? NaN)],
      ['Batches a second', short(numbers.batches ?? NaN)],
      ['A batch takes', `${short(numbers.batch_ms ?? NaN)} ms`],
      ['Dead letters', short(numbers.dead_letters ?? NaN)],
    ];
    this.#numbers.replaceChildren(
      ...lines.flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, value)]),
    );
  }
}
