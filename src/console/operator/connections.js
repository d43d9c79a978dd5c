// Who came and went of late, and why: by user, space, address or connection.
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
      el('option', { value: '' }, 'Here or gone'),
      el('option', { value: 'false' }, 'Here'),
      el('option', { value: 'true' }, 'Gone'),
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
      field('User', { name: 'user_id', ...numeric }),
      field('Space', { name: 'space_id', ...numeric }),
      field('Address', { name: 'address', size: 16 }),
      field('Connection', { name: 'id', size: 10, placeholder: '0-12-3' }),
      el('label', {}, 'State', ended),
      el('button', { type: 'submit', className: 'primary' }, 'Find'),
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
      el('h2', {}, 'Connections'),
      el(
        'p',
        { className: 'soft' },
        'Those that came of late, the newest first; each shard remembers 8,192.',
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
        ? el('a', { href: `#/spaces/${it.space_id}` }, `space ${it.space_id}`)
        : it.place;
    return table(
      `${data.length} connections`,
      [
        ['Connection', (it) => el('code', {}, it.id)],
        [
          'User',
          (it) => el('a', { href: `#/connections?user_id=${it.user_id}` }, String(it.user_id)),
        ],
        ['Where', place],
        ['Address', (it) => it.address ?? 'exempt'],
        ['Dialect', (it) => `${it.dialect}${it.resumed ? ', resumed' : ''}`],
        [
          'Came',
          (it) => el('time', { dateTime: it.since, title: it.since }, `${ago(it.since)} ago`),
        ],
        [
          'Gone',
          (it) =>
            it.ended
              ? el('time', { dateTime: it.ended.at, title: it.ended.at }, `${ago(it.ended.at)} ago`)
              : 'here',
        ],
        [
          'Why',
          (it) =>
            it.ended ? `${it.ended.reason}${it.ended.code ? ` (${it.ended.code})` : ''}` : '',
        ],
      ],
      data,
      'None that fits.',
    );
  }
}
