// The page's words: both languages whole, no text anywhere else; names, letters and days.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { TEXTS, choose, speak, text } from '../../src/console/texts.js';
import { isText, keysOf, stringsOf, textsOf, wholeInEach } from './texts.mjs';
import { dayOf, initialsOf, instantOf, nameOf, untilMidnight } from '../../src/console/words.js';

const CONSOLE = new URL('../../src/console/', import.meta.url);
const read = (name) => readFileSync(new URL(name, CONSOLE), 'utf8');
/** The words themselves, the client, and the page that shows programmers the contract. */
const OTHERS = ['en.js', 'es.js', 'client.js', 'docs.js'];
const SCRIPTS = readdirSync(CONSOLE)
  .filter((name) => name.endsWith('.js') && !OTHERS.includes(name));
test('each language has every text, with the same values and all of its plurals', () => {
  wholeInEach(TEXTS);
});

test('no text stands in a script or in the page’s markup', () => {
  const names = new Set([
    'CPI Hub', 'Enter', 'Escape', 'Notification', '…', 'noopener noreferrer nofollow',
  ]);
  for (const name of SCRIPTS) {
    const found = stringsOf(read(name)).filter((words) => isText(words) && !names.has(words));
    assert.deepEqual(found, [], name);
  }
  const markup = read('index.html').replace(/<noscript>[\s\S]*<\/noscript>/, '');
  assert.deepEqual(textsOf(markup), ['CPI Hub']);
  const noscript = read('index.html').match(/<p class="noscript" lang="(\w+)"/g);
  assert.equal(noscript.length, Object.keys(TEXTS).length);
});

test('every text is used, and every text that is used is there', () => {
  const markup = read('index.html');
  const asked = keysOf(markup);
  const strings = SCRIPTS.flatMap((name) => stringsOf(read(name), true));
  const families = ['refused_', 'waits_', 'stops_'];
  for (const key of asked) assert.ok(key in TEXTS.en, `the markup asks for ${key}`);
  const used = new Set([...asked, ...strings]);
  const states = ['connecting', 'open', 'waiting', 'closed'];
  const ticks = ['sending', 'accepted', 'stored', 'failed'];
  for (const key of Object.keys(TEXTS.en)) {
    const known = used.has(key) || families.some((family) => key.startsWith(family))
      || states.includes(key) || ticks.includes(key);
    assert.ok(known, `${key} is used nowhere`);
  }
  const source = SCRIPTS.map(read).join('\n');
  for (const [, key] of source.matchAll(/\b(?:text|nodes|notice)\('(\w+)'/g)) {
    assert.ok(key in TEXTS.en, `a script asks for ${key}`);
  }
});

test('the language is the first that person and page share, in the person’s variant', () => {
  for (const [wanted, language, locale] of [
    [['es-AR', 'en'], 'es', 'es-AR'], [['en-GB', 'es'], 'en', 'en-GB'],
    [['fr-FR', 'es-MX'], 'es', 'es-MX'], [['fr-FR', 'de'], 'en', 'en'], [[], 'en', 'en'],
    [['ES'], 'es', 'ES'],
  ]) {
    assert.deepEqual(choose(wanted), { language, locale }, wanted.join());
  }
});

test('a language is spoken in the person’s variant of it, and what was chosen comes first', () => {
  try {
    speak('es');
    assert.equal(text('today'), 'Hoy');
    assert.equal(dayOf(Date.now(), Date.now()), 'Hoy');
  } finally {
    speak('');
  }
  assert.equal(text('today'), 'Today');
});

test('a name in a text can’t turn the rest around', () => {
  assert.equal(text('joined', { name: 'Ana' }), 'Ana joined');
  assert.equal(text('joined', { name: 'مرحبا' }), '\u2068مرحبا\u2069 joined');
});

test('names are shown without tricks, and never as nothing', () => {
  for (const [username, shown] of [
    ['Ana Paz', 'Ana Paz'], ['Ana\u202Eyer', 'Anayer'], ['\u200B\u2066', 'User 7'], ['', 'User 7'],
    ['\u2800\u3164', 'User 7'], ['\u200D', 'User 7'], ['A\n\n  B', 'A B'], ['👩‍👩‍👧‍👦', '👩‍👩‍👧‍👦'],
    ['🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}',
      '🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}'],
    [`Z${'\u0301'.repeat(50)}`, 'Z\u0301\u0301'], ['❤️', '❤️'], ['می‌خواهم', 'می‌خواهم'],
  ]) {
    assert.equal(nameOf({ username, user_id: 7 }), shown, JSON.stringify(username));
  }
});

test('initials are letters as people see them', () => {
  for (const [name, initials] of [
    ['Ana Paz', 'AP'], ['ana', 'A'], ['😀 Beto', '😀'], ['👩‍👩‍👧‍👦', '👩‍👩‍👧‍👦'], ['🇦🇷 Sol', '🇦🇷'],
    ['é́ x', 'É́X'], ['漢字 名', '漢名'], ['नमस्ते', 'न'],
    ['ana maría paz', 'AM'], ['(x) y', 'XY'], ['!!!', '!'],
  ]) {
    assert.equal(initialsOf(name), initials, name);
  }
});

test('a day has its name by the day on which it is read', () => {
  const at = new Date(2026, 2, 3, 23, 59).getTime();
  assert.equal(dayOf(at, at), 'Today');
  assert.equal(dayOf(at, at + 120_000), 'Yesterday');
  assert.equal(dayOf(at, at + 86_400_000 + 120_000), 'Tuesday, March 3');
  assert.equal(dayOf(at, new Date(2027, 0, 1).getTime()), 'Tuesday, March 3, 2026');
  assert.equal(untilMidnight(at), 60_000);
  assert.ok(Number.isFinite(instantOf('infinity').getTime()));
});

test('the page asks for all of its modules at once', () => {
  const found = new Set();
  const follow = (name) => {
    if (found.has(name)) return;
    found.add(name);
    for (const [, path] of read(name).matchAll(/^(?:import|export)[^;]*? from '(.+)';/gm)) {
      follow(new URL(path, `file:///${name}`).pathname.slice(1));
    }
  };
  follow('app.js');
  const named = read('index.html').matchAll(/(?:modulepreload" href|type="module" src)="([^"]+)"/g);
  assert.deepEqual([...named].map(([, name]) => name).sort(), [...found].sort());
});
