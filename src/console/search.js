// Search in what was said: a dialog with a field, and below it the messages that were found, newest
// first. A press on one shows it where it was said.
import { element } from './element.js';
import { avatar } from './message.js';
import { WORD, piecesOf, wordsOf } from './sought.js';
import { nodes, say } from './texts.js';
import { dayOf, fullTimeOf, instantOf, nameOf, timeOf } from './words.js';

const PAGE = 20;
/** Who types is not asked for each letter. */
const PAUSE_MS = 250;
/** What stands before the first word that was found, of a text that is too long to be shown. */
const BEFORE_CHARS = 60;
const SHOWN_CHARS = 300;

const $ = (id) => document.getElementById(id);

export class Search {
  #find; #goTo;
  #asking = new AbortController();
  #timer = 0;
  #last = '';

  /**
   * @param {{find: (query: string, options: object) => Promise<object>,
   *   goTo: (id: string) => void, signal: AbortSignal}} means `find`: a page of what is found
   */
  constructor({ find, goTo, signal }) {
    this.#find = find;
    this.#goTo = goTo;
    const on = (id, type, run) => $(id).addEventListener(type, run, { signal });
    on('search-button', 'click', () => this.#open());
    on('search-form', 'submit', (event) => {
      event.preventDefault();
      this.#ask();
    });
    on('search-field', 'input', () => this.#askSoon());
    on('search', 'keydown', (event) => this.#key(event));
    on('search', 'close', () => this.#giveUp());
    on('search-results', 'click', ({ target }) => this.#chosen(target.closest('button')));
    on('search-more', 'click', () => this.#more());
    signal.addEventListener('abort', () => this.#end(), { once: true });
    $('search-button').hidden = false;
  }

  #end() {
    this.#giveUp();
    $('search').close();
    $('search-button').hidden = true;
    $('search-field').value = '';
    this.#clear();
  }

  #open() {
    $('search').showModal();
    $('search-field').focus();
    $('search-field').select();
  }

  #giveUp() {
    clearTimeout(this.#timer);
    this.#asking.abort();
    $('search-results').removeAttribute('aria-busy');
  }

  #clear() {
    $('search-results').replaceChildren();
    $('search-more').hidden = true;
    this.#tell('search_hint');
  }

  #askSoon() {
    this.#giveUp();
    this.#timer = setTimeout(() => this.#ask(), PAUSE_MS);
  }

  async #ask() {
    this.#giveUp();
    const query = $('search-field').value;
    if (!query.match(WORD)) return this.#clear();
    const page = await this.#read(query);
    if (!page) return;
    $('search-results').replaceChildren();
    this.#show(query, page);
  }

  async #more() {
    const query = $('search-field').value;
    const count = $('search-results').childElementCount;
    const page = await this.#read(query, this.#last);
    if (!page) return;
    this.#show(query, page);
    $('search-results').children[count]?.querySelector('button').focus();
  }

  // Null: it was given up for another question, or it failed.
  async #read(query, before) {
    this.#asking = new AbortController();
    const { signal } = this.#asking;
    $('search-results').setAttribute('aria-busy', 'true');
    try {
      return await this.#find(query, { before, limit: PAGE, signal });
    } catch ({ code }) {
      const key = code === 'invalid_parameter' ? 'search_long' : 'search_failed';
      if (!signal.aborted) this.#tell(key);
      return null;
    } finally {
      if (!signal.aborted) $('search-results').removeAttribute('aria-busy');
    }
  }

  #show(query, { messages, hasMore, complete }) {
    const list = $('search-results');
    list.append(...messages.map((message) => lineOf(message, wordsOf(query))));
    this.#last = messages.at(-1)?.id ?? this.#last;
    $('search-more').hidden = !hasMore;
    const count = list.childElementCount;
    const key = count ? 'search_found' : 'search_none';
    this.#tell(hasMore ? 'search_found_more' : key, { count }, !complete);
  }

  #tell(key, values = {}, isPartial = false) {
    say($('search-state'), () => [
      ...nodes(key, values), ...(isPartial ? [' ', ...nodes('search_partial')] : [])]);
  }

  #chosen(button) {
    if (!button) return;
    $('search').close();
    this.#goTo(button.dataset.id);
  }

  // The arrows go from the field through what was found, and back.
  #key(event) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step || event.isComposing) return;
    const stops = [$('search-field'), ...$('search-results').querySelectorAll('button')];
    if (!$('search-more').hidden) stops.push($('search-more'));
    const at = stops.indexOf(document.activeElement);
    if (at < 0) return;
    event.preventDefault();
    stops[Math.min(Math.max(at + step, 0), stops.length - 1)].focus();
  }
}

// As much of a text as is shown, from a little before the first word that was found.
function shownOf(content, words) {
  const pieces = piecesOf(content, words);
  const first = typeof pieces[0] === 'string' && pieces.length > 1 ? pieces[0].length : 0;
  const from = first > SHOWN_CHARS - BEFORE_CHARS ? first - BEFORE_CHARS : 0;
  const [start, end] = [from, from + SHOWN_CHARS].map((at) => whole(content, at));
  const cut = `${start ? '…' : ''}${content.slice(start, end)}${end < content.length ? '…' : ''}`;
  return piecesOf(cut, words).map((piece) => (
    typeof piece === 'string' ? piece : element('mark', {}, ...piece)));
}

// Not between the two halves of a letter.
const whole = (content, at) => (/[\udc00-\udfff]/.test(content[at] ?? '') ? at + 1 : at);

function lineOf(message, words) {
  const at = instantOf(message.timestamp);
  const time = element('time', { datetime: at.toISOString() });
  say(time, () => `${dayOf(at, Date.now())}, ${timeOf(at)}`);
  say(time, () => fullTimeOf(at), 'title');
  const name = say(element('bdi', { class: 'name' }), () => nameOf(message));
  const head = element('span', { class: 'head' }, name, time);
  const said = element('span', { class: 'said', dir: 'auto' }, ...shownOf(message.content, words));
  const button = element('button', { type: 'button', 'data-id': message.id },
    avatar(message), element('span', { class: 'found' }, head, said));
  return element('li', {}, button);
}
