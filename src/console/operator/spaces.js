// All spaces, the hottest on top, and one of them: who is there and how they stand, what was said,
// saying something.
import { text } from '../texts.js';
import { ask } from './hub.js';
import { age, bytes, el, field, short, table } from './parts.js';

const PAGE = 100;
const HOTTEST = 20;

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
    const hottest = el('div', { className: 'panel' });
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
      field(text('space'), {
        name: 'space',
        required: true,
        inputMode: 'numeric',
        pattern: '[+\\-]?[0-9]+',
      }),
      el('button', { type: 'submit', className: 'primary' }, text('open')),
    );
    let from = 0;
    const turn = (to) => () => {
      from = to();
      show();
    };
    const more = { type: 'button', hidden: true, onclick: turn(() => from + PAGE) };
    const next = el('button', more, text('next_spaces'));
    const first = el('button', { ...more, onclick: turn(() => 0) }, text('first_spaces'));
    this.#view.append(
      el('h2', {}, text('spaces')),
      form,
      error,
      el('section', {}, hottest),
      el('section', {}, list, el('p', {}, first, ' ', next)),
    );
    const show = async () => {
      try {
        const [hot, page] = await Promise.all([
          ask(`v1/hub/hottest?limit=${HOTTEST}`),
          ask(`v1/spaces?limit=${PAGE}&offset=${from}`),
        ]);
        error.textContent = '';
        hottest.replaceChildren(this.#hottest(hot.data));
        list.replaceChildren(this.#page(page, from));
        next.hidden = from + page.data.length >= page.total;
        first.hidden = from === 0;
      } catch (refusal) {
        error.textContent = refusal.message;
      }
    };
    this.#repeat(show);
  }

  #hottest(data) {
    return table(
      text('hottest'),
      [
        [text('space'), linked],
        [text('connections'), (it) => short(it.members), 'number'],
        [text('chats_a_second'), (it) => short(it.chats_per_second), 'number'],
        [text('bytes_said'), (it) => bytes(it.bytes_per_second), 'number'],
        [text('bytes_sent'), (it) => bytes(it.sent_bytes_per_second), 'number'],
      ],
      data,
      text('hottest_none'),
    );
  }

  #page({ data, total }, from) {
    const stretch = { from: Math.min(from + 1, total), to: from + data.length, total };
    return table(
      text('all_largest', stretch),
      [
        [text('space'), linked],
        [text('connections'), (it) => short(it.members), 'number'],
      ],
      data,
      text('all_none'),
    );
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
    const more = el('button', { type: 'button', hidden: true }, text('next_members'));
    const back = el('button', { type: 'button', hidden: true }, text('first_members'));
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
      el('p', {}, el('a', { href: '#/spaces' }, text('all_spaces'))),
      el('h2', {}, text('space_named', { space })),
      el('p', {}, el('a', { href: `#/frames/${space}` }, text('frames_live'))),
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
            const name = it.username || text('no_name');
            if (!confirm(text('kick_ask', { user: String(it.user_id), name, space }))) return;
            await ask(`v1/spaces/${space}/members/${it.user_id}`, { method: 'DELETE' }).catch(
              (refusal) => alert(refusal.message),
            );
            show();
          },
        },
        text('kick'),
      );
    return table(
      text('connections_count', { count: members }),
      [
        [
          text('user'),
          (it) => el('a', { href: `#/connections?user_id=${it.user_id}` }, String(it.user_id)),
        ],
        [text('name'), (it) => el('span', { dir: 'auto' }, it.username), 'wide'],
        [text('connection'), (it) => el('code', {}, it.id)],
        [text('dialect'), (it) => it.dialect],
        [text('address'), (it) => it.address ?? text('exempt')],
        [text('here_for'), (it) => (it.since ? age(it.since) : text('long'))],
        [text('behind'), (it) => bytes(it.behind_bytes + it.private_bytes), 'number'],
        [
          text('heard'),
          (it) => text('ago', { time: `${short(it.silent_ms / 1000)} s` }),
          'number',
        ],
        [text('state'), (it) => text(it.blocked ? 'takes_nothing' : 'well')],
        [text('close'), kick],
      ],
      data,
      text('nobody_here'),
    );
  }

  #history(data) {
    return table(
      text('newest_messages'),
      [
        [text('when'), (it) => it.timestamp],
        [text('user'), (it) => String(it.user_id)],
        [text('name'), (it) => el('span', { dir: 'auto' }, it.username)],
        [text('text'), (it) => el('span', { dir: 'auto' }, it.content), 'wide'],
        [text('id'), (it) => el('code', {}, it.id)],
      ],
      [...data].reverse(),
      text('nothing_said'),
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
          const { words, user, name } = form.elements;
          try {
            const { chat_message: chat } = await ask(`v1/ws/spaces/${space}/broadcast`, {
              method: 'POST',
              body: {
                message: words.value,
                user_id: user.value,
                username: name.value,
                space_id: Number(space),
              },
            });
            said.textContent = text('stored_as', { id: chat.id });
            words.value = '';
            show();
          } catch (refusal) {
            said.textContent = refusal.message;
          }
        },
      },
      field(text('say_here'), { name: 'words', required: true, maxLength: 1000, size: 40 }),
      field(text('as_user'), {
        name: 'user',
        required: true,
        inputMode: 'numeric',
        pattern: '[0-9]+',
        size: 6,
      }),
      field(text('by_name'), { name: 'name', required: true, value: text('operator'), size: 12 }),
      el('button', { type: 'submit', className: 'primary' }, text('say')),
    );
    return el('section', {}, form, said);
  }
}

const linked = (it) => el('a', { href: `#/spaces/${it.space_id}` }, String(it.space_id));
