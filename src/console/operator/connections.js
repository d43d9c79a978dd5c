// Who came and went of late, and why: by user, space, address or connection.
import { text } from '../texts.js';
import { ask } from './hub.js';
import { ago, el, field, table } from './parts.js';

export class Connections {
  #query;

  constructor(query) {
    this.#query = query;
  }

  open(view) {
    const error = el('p', { className: 'error', role: 'alert' });
    const list = el('div', { className: 'panel' });
    const numeric = { inputMode: 'numeric', pattern: '[+\\-]?[0-9]+', size: 8 };
    const ended = el(
      'select',
      { name: 'ended' },
      el('option', { value: '' }, text('here_or_gone')),
      el('option', { value: 'false' }, text('here')),
      el('option', { value: 'true' }, text('gone')),
    );
    const form = el(
      'form',
      {
        className: 'row',
        onsubmit: (event) => {
          event.preventDefault();
          const sought = new URLSearchParams(new FormData(form));
          for (const [name, value] of [...sought]) if (value === '') sought.delete(name);
          history.replaceState(null, '', `#/connections?${sought}`);
          show(sought);
        },
      },
      field(text('user'), { name: 'user_id', ...numeric }),
      field(text('space'), { name: 'space_id', ...numeric }),
      field(text('address'), { name: 'address', size: 16 }),
      field(text('connection'), { name: 'id', size: 10, placeholder: '0-12-3' }),
      el('label', {}, text('state'), ended),
      el('button', { type: 'submit', className: 'primary' }, text('find')),
    );
    const show = async (sought) => {
      try {
        const query = new URLSearchParams(sought);
        query.set('limit', '500');
        const { data } = await ask(`v1/connections?${query}`);
        error.textContent = '';
        list.replaceChildren(this.#table(data));
      } catch (refusal) {
        error.textContent = refusal.message;
      }
    };
    for (const [name, value] of this.#query)
      if (form.elements[name]) form.elements[name].value = value;
    view.append(
      el('h2', {}, text('connections')),
      el(
        'p',
        { className: 'soft' },
        text('of_late', { count: 8192 }),
      ),
      form,
      error,
      list,
    );
    show(this.#query);
  }

  close() {}

  #table(data) {
    const place = (it) =>
      it.place === 'space'
        ? el('a', { href: `#/spaces/${it.space_id}` }, inSpace(String(it.space_id)))
        : text(`in_${it.place}`);
    return table(
      text('connections_count', { count: data.length }),
      [
        [text('connection'), (it) => el('code', {}, it.id)],
        [
          text('user'),
          (it) => el('a', { href: `#/connections?user_id=${it.user_id}` }, String(it.user_id)),
        ],
        [text('where'), place],
        [text('address'), (it) => it.address ?? text('exempt')],
        [
          text('dialect'),
          (it) => (it.resumed ? text('resumed', { dialect: it.dialect }) : it.dialect),
        ],
        [
          text('came'),
          (it) => el('time', { dateTime: it.since, title: it.since }, ago(it.since)),
        ],
        [
          text('gone'),
          (it) =>
            it.ended
              ? el('time', { dateTime: it.ended.at, title: it.ended.at }, ago(it.ended.at))
              : text('still_here'),
        ],
        [
          text('why'),
          (it) =>
            it.ended ? `${it.ended.reason}${it.ended.code ? ` (${it.ended.code})` : ''}` : '',
        ],
      ],
      data,
      text('none_fits'),
    );
  }
}

const inSpace = (space) => text('in_space', { space });
