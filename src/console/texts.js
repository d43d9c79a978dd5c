// The page's language: its words with their values and plurals, and who says them. Whatever shows
// words says them by `say`, so that they change with the language while the page is open.
import en from './en.js';
import es from './es.js';

export const TEXTS = { en, es };

/** The language and the person's own variant of it; the rest of the page reads both. */
export let language;
export let locale;
let plurals;
let numbers;
const sayings = new WeakMap();

/** Takes the words of a page of its own into each language. */
export function learn(words) {
  for (const [language, more] of Object.entries(words)) Object.assign(TEXTS[language], more);
}

/** The first language that both the person and the page know, with the person's own variant. */
export function choose(wanted) {
  const locale = wanted.find((tag) => languageOf(tag) in TEXTS) ?? 'en';
  return { language: languageOf(locale), locale };
}

const languageOf = (tag) => tag.split('-')[0].toLowerCase();

/** Speaks a language of `TEXTS`, or for '' the browser's; what was said is said anew. */
export function speak(chosen) {
  const known = globalThis.navigator?.languages ?? [];
  const wanted = chosen ? [...known.filter((tag) => languageOf(tag) === chosen), chosen] : known;
  ({ language, locale } = choose(wanted));
  plurals = new Intl.PluralRules(locale);
  numbers = new Intl.NumberFormat(locale);
  if (!globalThis.document) return;
  document.documentElement.lang = locale;
  sayAgain(document);
}

/** Whether there is a text of this key. */
export const has = (key) => key in TEXTS[language];

/** A number as it is written here. */
export const number = (value) => numbers.format(value);

/** A text; of the values, `count` also chooses the plural. No name can turn the rest around. */
export function text(key, values = {}) {
  return pieces(key, values).map((piece) => (
    typeof piece === 'string' ? piece : isolated(piece.value))).join('');
}

const isolated = (value) => (/^[ -~]*$/.test(value) ? value : `\u2068${value}\u2069`);

/** A text as a list of nodes, in which each value stands isolated. */
export function nodes(key, values = {}) {
  return pieces(key, values).map((piece) => {
    if (typeof piece === 'string') return piece;
    const node = document.createElement('bdi');
    node.append(piece.value);
    return node;
  });
}

function pieces(key, values) {
  const entry = TEXTS[language][key];
  const forms = typeof entry === 'string' ? { other: entry } : entry;
  const form = forms[plurals.select(values.count ?? 0)] ?? forms.other;
  return form.split(/(\{\w+\})/).filter(Boolean).map((piece) => {
    const name = /^\{(\w+)\}$/.exec(piece)?.[1];
    if (!name) return piece;
    const value = values[name];
    return typeof value === 'number' ? number(value) : { value };
  });
}

/**
 * Puts words into a node, now and whenever they change.
 * @param {Element} node
 * @param {() => string | Node[]} words
 * @param {string} [attribute] where they go; default: they are the node's content
 * @returns {Element} the node
 */
export function say(node, words, attribute = '') {
  const said = sayings.get(node) ?? new Map();
  sayings.set(node, said.set(attribute, words));
  node.setAttribute('data-said', '');
  put(node, attribute, words());
  return node;
}

function put(node, attribute, words) {
  if (attribute) node.setAttribute(attribute, words);
  else if (typeof words !== 'string') node.replaceChildren(...words);
  else if (node.textContent !== words) node.textContent = words;
}

/** Says anew what nodes in `root` say: the language or the day is another one. */
export function sayAgain(root, selector = '[data-said]') {
  for (const node of root.querySelectorAll(selector)) {
    for (const [attribute, words] of sayings.get(node) ?? []) put(node, attribute, words());
  }
}

/** Puts the texts where the page's markup asks for them. */
export function fill(root) {
  const places = { text: '', label: 'aria-label', placeholder: 'placeholder', title: 'title' };
  for (const [place, attribute] of Object.entries(places)) {
    for (const node of root.querySelectorAll(`[data-${place}]`)) {
      say(node, () => text(node.dataset[place]), attribute);
    }
  }
}

speak('');
