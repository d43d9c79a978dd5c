// The list of who is here: beside the conversation, or a dialog over it on a narrow screen.
import { avatar, element } from './message.js';
import { locale, number, text } from './texts.js';
import { nameOf } from './words.js';

const SHOWN_MAX = 500;
const wide = matchMedia('(min-width: 761px)');
const order = new Intl.Collator(locale, { sensitivity: 'base', numeric: true });

const $ = (id) => document.getElementById(id);

export class People {
  #ownId;
  #drawing = 0;

  constructor(ownId) {
    this.#ownId = ownId;
    this.show({ members: 0, users: [] });
  }

  /** {members, users}, as client.js tells it. */
  show({ members, users }) {
    const count = users?.length ?? members;
    $('people-count').textContent = number(count);
    $('people-button').setAttribute('aria-label', text('people_here', { count }));
    $('people-title-count').textContent = number(count);
    cancelAnimationFrame(this.#drawing);
    this.#drawing = requestAnimationFrame(() => this.#draw(users));
  }

  end() {
    cancelAnimationFrame(this.#drawing);
  }

  #draw(users) {
    const named = (users ?? []).map((user) => ({ ...user, name: nameOf(user) }));
    named.sort((a, b) => order.compare(a.name, b.name) || a.user_id - b.user_id);
    $('people-list').replaceChildren(
      ...named.slice(0, SHOWN_MAX).map((user) => this.#line(user)));
    const more = named.length - SHOWN_MAX;
    const note = users ? more > 0 && text('people_more', { count: more }) : text('people_too_many');
    $('people-note').textContent = note || '';
    $('people-note').hidden = !note;
  }

  #line(user) {
    const title = text('user_id', { id: String(user.user_id) });
    const line = element('li', { 'data-user-id': user.user_id, title }, avatar(user),
      element('bdi', { class: 'name' }, user.name));
    if (user.user_id === this.#ownId) {
      line.append(element('span', { class: 'hint' }, text('people_you')));
    }
    return line;
  }
}

/** Opens or closes the list; over the conversation it is modal, and keeps the focus. */
export function openPeople(open) {
  const dialog = $('people');
  if (dialog.open) dialog.close();
  $('people-button').setAttribute('aria-expanded', String(open));
  if (!open) return;
  if (wide.matches) dialog.setAttribute('open', '');
  else dialog.showModal();
}

/** As it is usual on this screen. */
export const openPeopleIfWide = () => openPeople(wide.matches);

$('people-button').addEventListener('click', () => openPeople(!$('people').open));
$('people-close').addEventListener('click', () => openPeople(false));
$('people').addEventListener('close', () => {
  if (!$('people').open) $('people-button').setAttribute('aria-expanded', 'false');
});
// A click beside the list hits the dialog itself, of which nothing else is bare.
$('people').addEventListener('click', (event) => {
  if (event.target === $('people') && !wide.matches) openPeople(false);
});
wide.addEventListener('change', openPeopleIfWide);
