// What waits for the store, what it has refused, and copies of it.
import { text } from '../texts.js';
import { ask } from './hub.js';
import { ago, bytes, el, percent, short, table } from './parts.js';

const LETTERS = 20;
/** While a copy is made, and else. */
const PERIODS_MS = { busy: 500, quiet: 5000 };
const COMMANDS = [
  ['command_letters', 'cpi-hub dead-letters --content'],
  ['command_restore', 'cpi-hub backup FILE'],
  ['command_journals', 'cpi-hub journal'],
];

export class Store {
  #feed;
  #redraw;
  #isOpen = true;
  #timer;
  #numbers = el('dl', { className: 'plain' });
  #letters = el('div');
  #copies = el('div');
  #error = el('p', { className: 'error', role: 'alert' });
  #retried = el('p', { className: 'soft', role: 'status' });
  #copied = el('p', { className: 'soft', role: 'status' });
  #showsContent = false;

  constructor(feed) {
    this.#feed = feed;
  }

  open(view) {
    view.append(
      el('h2', {}, text('store')),
      el('section', { className: 'panel' }, this.#numbers),
      this.#error,
      this.#lettersPart(),
      this.#copiesPart(),
      el(
        'section',
        {},
        el('h3', {}, text('on_the_machine')),
        ...COMMANDS.map(([what, command]) =>
          el('div', {}, el('p', {}, text(what)), el('p', {}, el('code', {}, command))),
        ),
      ),
    );
    this.#redraw = () => this.#draw();
    this.#feed.addEventListener('sample', this.#redraw);
    this.#draw();
    this.#show();
  }

  close() {
    this.#isOpen = false;
    clearTimeout(this.#timer);
    this.#feed.removeEventListener('sample', this.#redraw);
  }

  #lettersPart() {
    const content = el('button', { type: 'button', 'aria-pressed': 'false' }, text('show_content'));
    content.addEventListener('click', () => {
      this.#showsContent = !this.#showsContent;
      content.setAttribute('aria-pressed', String(this.#showsContent));
      content.textContent = text(this.#showsContent ? 'hide_content' : 'show_content');
      this.#show();
    });
    const retry = el('button', { type: 'button', className: 'primary' }, text('retry'));
    retry.addEventListener('click', () => this.#retry(retry));
    return el(
      'section',
      { className: 'panel' },
      el('h3', {}, text('dead_letters')),
      el('p', { className: 'soft' }, text('letters_about')),
      this.#letters,
      el('p', { className: 'buttons' }, retry, ' ', content),
      this.#retried,
    );
  }

  /** Tries all again that are there now, a hundred at a time; each once. */
  async #retry(button) {
    button.disabled = true;
    this.#retried.textContent = text('retrying');
    const sum = { stored: 0, already: 0, refused: 0 };
    try {
      let left = this.#feed.last?.numbers.dead_letters ?? 0;
      for (;;) {
        const done = await ask('v1/hub/dead-letters/retry', { method: 'POST' });
        const tried = done.stored + done.already_stored + done.refused;
        sum.stored += done.stored;
        sum.already += done.already_stored;
        sum.refused += done.refused;
        left -= tried;
        const words = [text('retried', sum)];
        if (done.stopped) words.push(text('retry_stopped', { why: done.stopped }));
        this.#retried.textContent = words.join(' ');
        // What is refused again goes to the end, and would come round.
        if (done.stopped || tried === 0 || left <= 0 || done.left === 0 || !this.#isOpen) break;
      }
    } catch (refusal) {
      this.#retried.textContent = text('retry_stopped', { why: refusal.message });
    }
    button.disabled = false;
    this.#show();
  }

  #copiesPart() {
    return el(
      'section',
      { className: 'panel' },
      el('h3', {}, text('backups')),
      this.#copies,
      this.#copied,
    );
  }

  async #copy(button) {
    button.disabled = true;
    try {
      this.#drawCopies(await ask('v1/hub/backups', { method: 'POST' }));
    } catch (refusal) {
      this.#copied.textContent = text('backup_failed', { why: refusal.message });
    }
    this.#show();
  }

  /** Asks the hub, and again after a while. */
  async #show() {
    clearTimeout(this.#timer);
    let period = PERIODS_MS.quiet;
    try {
      const content = this.#showsContent ? '&content=1' : '';
      const [letters, copies] = await Promise.all([
        ask(`v1/hub/dead-letters?limit=${LETTERS}${content}`),
        ask('v1/hub/backups'),
      ]);
      if (!this.#isOpen) return;
      this.#error.textContent = '';
      this.#letters.replaceChildren(this.#lettersTable(letters));
      this.#drawCopies(copies);
      if (copies.running) period = PERIODS_MS.busy;
    } catch (refusal) {
      this.#error.textContent = refusal.message;
    }
    if (!this.#isOpen) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#show(), period);
  }

  #lettersTable({ data, total }) {
    const said = [
      [text('name'), (it) => el('span', { dir: 'auto' }, it.username)],
      [text('text'), (it) => el('span', { dir: 'auto' }, it.content), 'wide'],
    ];
    return table(
      text('letters_newest', { total }),
      [
        [
          text('when'),
          (it) => el('time', { dateTime: it.timestamp, title: it.timestamp }, ago(it.timestamp)),
        ],
        [
          text('space'),
          (it) => el('a', { href: `#/spaces/${it.space_id}` }, String(it.space_id)),
        ],
        [text('user'), (it) => String(it.user_id)],
        [text('reason'), (it) => el('span', { lang: 'en' }, it.reason), 'wide'],
        ...(this.#showsContent ? said : []),
        [text('id'), (it) => el('code', {}, it.id)],
      ],
      data,
      text('letters_none'),
    );
  }

  #drawCopies({ folder, data, running, last }) {
    if (folder === null) {
      this.#copies.replaceChildren(el('p', { className: 'soft' }, text('backups_elsewhere')));
      return;
    }
    // A button that is being pressed stays.
    let button = this.#copies.querySelector('button');
    if (!button) {
      button = el('button', { type: 'button', className: 'primary' }, text('backup'));
      button.addEventListener('click', () => this.#copy(button));
      const about = el('p', { className: 'soft' }, text('backups_about', { folder }));
      this.#copies.replaceChildren(about, el('p', { className: 'buttons' }, button), el('div'));
    }
    button.disabled = running !== null;
    this.#copies.lastChild.replaceChildren(
      table(
        text('backups_kept'),
        [
          [text('file'), (it) => el('code', {}, it.file)],
          [text('size'), (it) => bytes(it.bytes), 'number'],
        ],
        data,
        text('backups_none'),
      ),
    );
    const said = copyWords(running, last);
    if (this.#copied.textContent !== said) this.#copied.textContent = said;
  }

  #draw() {
    const { last } = this.#feed;
    if (!last) return;
    const { numbers, ready } = last;
    const lines = [
      [text('state'), text(`store_${ready.store}`)],
      [text('waiting_in_journals'), bytes(numbers.journal_bytes ?? NaN)],
      [text('rows_a_second'), short(numbers.stored ?? NaN)],
      [text('batches_a_second'), short(numbers.batches ?? NaN)],
      [text('batch_takes'), `${short(numbers.batch_ms ?? NaN)} ms`],
      [text('dead_letters'), short(numbers.dead_letters ?? NaN)],
    ];
    this.#numbers.replaceChildren(
      ...lines.flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, value)]),
    );
  }
}

/** What is said of the copy that is made, or of the last one. */
function copyWords(running, last) {
  if (running) {
    const share = running.all_bytes > 0 ? running.copied_bytes / running.all_bytes : 0;
    const done = { percent: percent(share), size: bytes(running.all_bytes) };
    return text('backup_running', done);
  }
  if (!last) return '';
  if (last.error) return text('backup_failed', { why: last.error });
  return text('backup_made', { ...last, size: bytes(last.bytes) });
}
