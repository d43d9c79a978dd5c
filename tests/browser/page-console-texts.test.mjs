// The console's words: both languages whole, no text anywhere else, none too many.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import en from '../../src/console/operator/en.js';
import es from '../../src/console/operator/es.js';
import { isText, keysOf, stringsOf, textsOf, wholeInEach } from './texts.mjs';

const FOLDER = new URL('../../src/console/operator/', import.meta.url);
const read = (name) => readFileSync(new URL(name, FOLDER), 'utf8');
const SCRIPTS = readdirSync(FOLDER)
  .filter((name) => name.endsWith('.js') && !['en.js', 'es.js'].includes(name));

test('the console has every text in each language', () => {
  wholeInEach({ en, es });
});

test('no text of the console stands in a script or in its markup', () => {
  // Commands, units and what stands for no number.
  const commands = new Set([
    'cpi-hub dead-letters --content', 'cpi-hub backup FILE', 'cpi-hub journal', 'Authorization',
    'operate, read, say, kick', 'application/problem+json, application/json;q=0.9',
  ]);
  for (const name of SCRIPTS) {
    const found = stringsOf(read(name)).filter((words) => isText(words) && !commands.has(words));
    assert.deepEqual(found, [], name);
  }
  const names = ['CPI Hub console', 'CPI Hub', 'English', 'Español'];
  assert.deepEqual(textsOf(read('index.html')), names);
});

test('every text of the console is used, and every text that is used is there', () => {
  const asked = keysOf(read('index.html'));
  const strings = new Set([...asked, ...SCRIPTS.flatMap((name) => stringsOf(read(name), true))]);
  for (const key of asked) assert.ok(key in en, `the markup asks for ${key}`);
  const families = ['status_', 'in_', 'store_'];
  for (const key of Object.keys(en)) {
    const known = strings.has(key) || families.some((family) => key.startsWith(family));
    assert.ok(known, `${key} is used nowhere`);
  }
  const source = SCRIPTS.map(read).join('\n');
  for (const [, key] of source.matchAll(/\b(?:text|nodes)\('(\w+)'/g)) {
    assert.ok(key in en, `a script asks for ${key}`);
  }
});
