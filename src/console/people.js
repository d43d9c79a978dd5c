// The list of who is here: beside the conversation, or a dialog over it on a narrow screen.
import { element } from './element.js';
import { avatar } from './message.js';
import { locale, number, say, text } from './texts.js';
import { folded, nameOf } from './words.js';

const SHOWN_MAX = 500;
/** Fewer people are found by looking. */
const FIND_FROM = 8;
const wide = matchMedia('(min-width: 761px)');

const $ = (id) => document.getElementById(id);

export class People {
  #ownId;
  #users = [];
  #drawing = 0;
  #listening = new AbortController();

  constructor(ownId) {
    this.#ownId = ownId;
    $('people-find').value = '';
    const { signal } = this.#listening;
    $('people-find').addEventListener('input', () => this.#drawSoon(), { signal });
    addEventListener('languagechosen', () => this.#drawSoon(), { signal });
    this.show({ members: 0, users: [] });
  }

  /** {members, users}, as client.js tells it. */
  show({ members, users }) {
    const count = users?.length ?? members;
    this.#users = users;
    for (const id of ['people-count', 'people-title-count']) say($(id), () => number(count));
    say($('people-button'), () => text('people_here', { count }), 'aria-label');
    this.#drawSoon();
  }

  end() {
    cancelAnimationFrame(this.#drawing);
    this.#listening.abort();
  }

  #drawSoon() {
    cancelAnimationFrame(this.#drawing);
    this.#drawing = requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    const all = (this.#users ?? []).map((user) => ({ ...user, name: nameOf(user) }));
    const findable = all.length >= FIND_FROM;
    $('people-find').hidden = !findable;
    const wanted = findable ? folded($('people-find').value.trim()) : '';
    const found = all.filter(({ name }) => folded(name).includes(wanted));
    const order = new Intl.Collator(locale, { sensitivity: 'base', numeric: true });
    found.sort((a, b) => this.#isOther(a) - this.#isOther(b)
      || order.compare(a.name, b.name) || a.user_id - b.user_id);
    const shown = found.slice(0, SHOWN_MAX).map((user) => this.#line(user));
    $('people-list').replaceChildren(...shown);
    say($('people-note'), () => this.#note(found.length));
    $('people-note').hidden = !$('people-note').textContent;
  }

  #note(found) {
    if (!this.#users) return text('people_too_many');
    if (!found && this.#users.length) return text('people_none');
    return found > SHOWN_MAX ? text('people_more', { count: found - SHOWN_MAX }) : '';
  }

  #isOther({ user_id }) { return user_id === this.#ownId ? 0 : 1; }

  #line(user) {
    const title = text('user_id', { id: String(user.user_id) });
    const line = element('li', { 'data-user-id': user.user_id, title }, avatar(user),
      element('bdi', { class: 'name' }, user.name));
    if (!this.#isOther(user)) line.append(element('span', { class: 'hint' }, text('people_you')));
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
wide.addEventListener('change', openPeopleIfWide);
