// What this browser remembers: the person's choices, and of each space the draft and how far the
// person has read. Where storage is off or full, nothing is remembered and all else works.

const PREFIX = 'cpi-hub.';
const PLACES = `${PREFIX}at.`;
const PLACES_MAX = 100;
const DRAFT_CHARS_MAX = 20_000;
/** Typing and reading change the memory often; a browser writes it to its disk. */
const WRITE_MS = 400;

/** A value by its name; '' where there is none. */
export function recall(name, store = 'localStorage') {
  try { return globalThis[store].getItem(PREFIX + name) ?? ''; } catch { return ''; }
}

/** Keeps a value; '' forgets it. */
export function remember(name, value, store = 'localStorage') {
  try {
    if (value) globalThis[store].setItem(PREFIX + name, value);
    else globalThis[store].removeItem(PREFIX + name);
  } catch { /* Storage is off. */ }
}

/** What is remembered of one person in one space. */
export class Place {
  #name; #kept;
  #writing = null;

  constructor(spaceId, userId) {
    this.#name = `at.${userId}.${spaceId}`;
    this.#kept = parse(recall(this.#name));
    prune();
  }

  /** Id of the last message that was read; '' for a space that is new to the person. */
  get read() { return this.#kept.read ?? ''; }
  /** What was written and not sent. */
  get draft() { return this.#kept.draft ?? ''; }

  set read(read) { this.#keep({ read }); }
  set draft(draft) { this.#keep({ draft: draft.slice(0, DRAFT_CHARS_MAX) }); }

  #keep(change) {
    Object.assign(this.#kept, change);
    this.#writing ??= setTimeout(() => this.write(), WRITE_MS);
  }

  /** Writes what waits to be written, as before the page ends. */
  write() {
    if (this.#writing === null) return;
    clearTimeout(this.#writing);
    this.#writing = null;
    // Another tab of the person may have read farther.
    const { read = '' } = parse(recall(this.#name));
    if (read > this.read) this.#kept.read = read;
    remember(this.#name, JSON.stringify({ ...this.#kept, at: Date.now() }));
  }
}

function parse(json) {
  try { return { ...JSON.parse(json) }; } catch { return {}; }
}

// The places that were left alone for longest go.
function prune() {
  let names = [];
  try { names = Object.keys(localStorage); } catch { /* Storage is off. */ }
  names = names.filter((name) => name.startsWith(PLACES)).map((name) => name.slice(PREFIX.length));
  if (names.length <= PLACES_MAX) return;
  const aged = names.map((name) => ({ name, at: Number(parse(recall(name)).at) || 0 }));
  aged.sort((a, b) => a.at - b.at);
  for (const { name } of aged.slice(0, names.length - PLACES_MAX)) remember(name, '');
}
