// The events of one space as they come, as the hub writes them: pause, and a filter.
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
      'aria-label': 'Frames',
      'aria-live': 'off',
    });
    const filter = field('Only those with', {
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
          pause.textContent = this.#paused ? 'Go on' : 'Pause';
          if (!this.#paused)
            this.#held.splice(0).forEach((event) => this.#show(list, filter, event));
        },
      },
      'Pause',
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
      field('Space', {
        name: 'space',
        required: true,
        inputMode: 'numeric',
        pattern: '[+\\-]?[0-9]+',
        value: this.#space ?? '',
        size: 8,
      }),
      el('button', { type: 'submit', className: 'primary' }, 'Watch'),
      filter,
      pause,
    );
    view.append(el('h2', {}, 'Frames'), form, state, list);
    if (this.#space === undefined) state.textContent = 'Choose a space.';
    else this.#follow(list, filter, state);
  }

  close() {
    this.#stop.abort();
  }

  async #follow(list, filter, state) {
    const { signal } = this.#stop;
    let position;
    while (!signal.aborted) {
      state.textContent = `Watching space ${this.#space}.`;
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
      state.textContent = 'Lost; trying again.';
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
