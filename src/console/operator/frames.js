// The events of one space as they come, as the hub writes them: pause, and a filter.
import { text } from '../texts.js';
import { listen } from './hub.js';
import { el, field } from './parts.js';

const SHOWN_MAX = 500;

export class Frames {
  #space;
  #stop = new AbortController();
  #paused = false;
  #held = [];

  constructor(space) {
    this.#space = space;
  }

  open(view) {
    const state = el('p', { className: 'soft', role: 'status' });
    const list = el('div', {
      className: 'frames',
      tabIndex: 0,
      role: 'log',
      'aria-label': text('frames'),
      'aria-live': 'off',
    });
    const filter = field(text('only_with'), {
      name: 'filter',
      size: 16,
      oninput: () => this.#sift(list, filter),
    });
    const pause = el(
      'button',
      {
        type: 'button',
        'aria-pressed': 'false',
        onclick: () => {
          this.#paused = !this.#paused;
          pause.setAttribute('aria-pressed', String(this.#paused));
          pause.textContent = text(this.#paused ? 'go_on' : 'pause');
          if (!this.#paused)
            this.#held.splice(0).forEach((event) => this.#show(list, filter, event));
        },
      },
      text('pause'),
    );
    const form = el(
      'form',
      {
        className: 'row',
        onsubmit: (event) => {
          event.preventDefault();
          location.hash = `#/frames/${form.elements.space.value.trim()}`;
        },
      },
      field(text('space'), {
        name: 'space',
        required: true,
        inputMode: 'numeric',
        pattern: '[+\\-]?[0-9]+',
        value: this.#space ?? '',
        size: 8,
      }),
      el('button', { type: 'submit', className: 'primary' }, text('watch')),
      filter,
      pause,
    );
    view.append(el('h2', {}, text('frames')), form, state, list);
    if (this.#space === undefined) state.textContent = text('choose_space');
    else this.#follow(list, filter, state);
  }

  close() {
    this.#stop.abort();
  }

  async #follow(list, filter, state) {
    const { signal } = this.#stop;
    let position;
    while (!signal.aborted) {
      state.textContent = text('watching', { space: this.#space });
      const more = position ? { 'Last-Event-ID': position } : {};
      try {
        await listen(
          `v1/spaces/${this.#space}/events?watch=1`,
          (event) => {
            position = event.id ?? position;
            if (this.#paused) {
              this.#held.push(event);
              if (this.#held.length > SHOWN_MAX) this.#held.shift();
            } else this.#show(list, filter, event);
          },
          signal,
          more,
        );
      } catch (error) {
        if (signal.aborted) return;
        if (error.status >= 400 && error.status < 500) {
          state.textContent = error.message;
          return;
        }
      }
      if (signal.aborted) return;
      state.textContent = text('lost');
      await new Promise((done) => setTimeout(done, 2000));
    }
  }

  #show(list, filter, { name, data, id }) {
    const atEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - 8;
    const line = el(
      'div',
      {},
      `${new Date().toISOString().slice(11, 23)} ${name}${id ? ` ${id}` : ''}\n${data}`,
    );
    list.append(line);
    line.hidden = !fits(line, filter);
    while (list.childElementCount > SHOWN_MAX) list.firstChild.remove();
    if (atEnd) list.scrollTop = list.scrollHeight;
  }

  #sift(list, filter) {
    for (const line of list.children) line.hidden = !fits(line, filter);
  }
}

function fits(line, filter) {
  return line.textContent.includes(filter.querySelector('input').value);
}
