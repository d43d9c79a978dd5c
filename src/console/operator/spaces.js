// All spaces, and one of them: who is there and how they stand, what was said, saying something.
import { ask } from './hub.js';
import { ago, bytes, el, field, short, table } from './parts.js';

const PAGE = 100;

export class Spaces {
  #view;
  #which;
  #refresh;

  constructor(which) {
    this.#which = which;
  }

  open(view) {
    this.#view = view;
    if (this.#which === undefined) this.#openAll();
    else this.#openOne(this.#which);
  }

  close() {
    clearInterval(this.#refresh);
  }

  #openAll() {
    const list = el('div', { className: 'panel' });
    const error = el('p', { className: 'error', role: 'alert' });
    const form = el(
      'form',
      {
        className: 'row',
        onsubmit: (event) => {
          event.preventDefault();
          location.hash = `#/spaces/${form.elements.space.value.trim()}`;
        },
      },
      field('Space', {
        name: 'space',
        required: true,
        inputMode: 'numeric',
        pattern: '[+\\-]?[0-9]+',
      }),
      el('button', { type: 'submit', className: 'primary' }, 'Open'),
    );
    this.#view.append(el('h2', {}, 'Spaces'), form, error, list);
    const show = async () => {
      try {
        const { data, total } = await ask('v1/spaces?limit=1000');
        error.textContent = '';
        list.replaceChildren(
          table(
            `${data.length} of ${total} spaces with members, the largest first`,
            [
              ['Space', (it) => el('a', { href: `#/spaces/${it.space_id}` }, String(it.space_id))],
              ['Connections', (it) => String(it.members), 'number'],
            ],
            data,
            'Nobody is in any space.',
          ),
        );
      } catch (refusal) {
        error.textContent = refusal.message;
      }
    };
    this.#repeat(show);
  }

  #repeat(show) {
    show();
    this.#refresh = setInterval(() => {
      if (!document.hidden) show();
    }, 5000);
  }

  #openOne(space) {
    const error = el('p', { className: 'error', role: 'alert' });
    const members = el('div', { className: 'panel' });
    const history = el('div', { className: 'panel' });
    const starts = [undefined];
    const more = el('button', { type: 'button', hidden: true }, 'Next members');
    const back = el('button', { type: 'button', hidden: true }, 'First members');
    const show = async () => {
      try {
        const from = starts.at(-1);
        const query = from === undefined ? '' : `&from_user=${from}`;
        const page = await ask(`v1/spaces/${space}/members?limit=${PAGE}${query}`);
        members.replaceChildren(this.#members(space, page, show));
        more.hidden = page.next_user === null;
        back.hidden = starts.length < 2;
        more.onclick = () => {
          starts.push(page.next_user);
          show();
        };
        const { data } = await ask(`v1/spaces/${space}/messages?limit=50`);
        history.replaceChildren(this.#history(data));
        error.textContent = '';
      } catch (refusal) {
        error.textContent = refusal.message;
      }
    };
    back.onclick = () => {
      starts.length = 1;
      show();
    };
    this.#view.append(
      el('p', {}, el('a', { href: '#/spaces' }, 'All spaces')),
      el('h2', {}, `Space ${space}`),
      el('p', {}, el('a', { href: `#/frames/${space}` }, 'Frames, live')),
      error,
      this.#saying(space, show),
      el('section', {}, members, el('p', {}, back, ' ', more)),
      history,
    );
    this.#repeat(show);
  }

  #members(space, { members, data }, show) {
    const kick = (it) =>
      el(
        'button',
        {
          type: 'button',
          className: 'danger',
          onclick: async () => {
            const who = `user ${it.user_id} (${it.username || 'no name'})`;
            if (!confirm(`Close all connections of ${who} in space ${space}?`)) return;
            await ask(`v1/spaces/${space}/members/${it.user_id}`, { method: 'DELETE' }).catch(
              (refusal) => alert(refusal.message),
            );
            show();
          },
        },
        'Kick',
      );
    return table(
      `${members} connections`,
      [
        [
          'User',
          (it) => el('a', { href: `#/connections?user_id=${it.user_id}` }, String(it.user_id)),
        ],
        ['Name', (it) => el('span', { dir: 'auto' }, it.username), 'wide'],
        ['Connection', (it) => el('code', {}, it.id)],
        ['Dialect', (it) => it.dialect],
        ['Address', (it) => it.address ?? 'exempt'],
        ['For', (it) => (it.since ? ago(it.since) : 'long')],
        ['Behind', (it) => bytes(it.behind_bytes + it.private_bytes), 'number'],
        ['Heard', (it) => `${short(it.silent_ms / 1000)} s ago`, 'number'],
        ['State', (it) => (it.blocked ? 'takes nothing' : 'well')],
        ['Close', kick],
      ],
      data,
      'Nobody is here.',
    );
  }

  #history(data) {
    return table(
      'The newest messages',
      [
        ['When', (it) => it.timestamp],
        ['User', (it) => String(it.user_id)],
        ['Name', (it) => el('span', { dir: 'auto' }, it.username)],
        ['Text', (it) => el('span', { dir: 'auto' }, it.content), 'wide'],
        ['Id', (it) => el('code', {}, it.id)],
      ],
      [...data].reverse(),
      'Nothing was said here.',
    );
  }

  #saying(space, show) {
    const said = el('p', { className: 'soft', role: 'status' });
    const form = el(
      'form',
      {
        className: 'row',
        onsubmit: async (event) => {
          event.preventDefault();
          const { text, user, name } = form.elements;
          try {
            const { chat_message: chat } = await ask(`v1/ws/spaces/${space}/broadcast`, {
              method: 'POST',
              body: {
                message: text.value,
                user_id: user.value,
                username: name.value,
                space_id: Number(space),
              },
            });
            said.textContent = `Stored as ${chat.id}.`;
            text.value = '';
            show();
          } catch (refusal) {
            said.textContent = refusal.message;
          }
        },
      },
      field('Say something here', { name: 'text', required: true, maxLength: 1000, size: 40 }),
      field('as user', {
        name: 'user',
        required: true,
        inputMode: 'numeric',
        pattern: '[0-9]+',
        size: 6,
      }),
      field('by the name', { name: 'name', required: true, value: 'Operator', size: 12 }),
      el('button', { type: 'submit', className: 'primary' }, 'Say'),
    );
    return el('section', {}, form, said);
  }
}
