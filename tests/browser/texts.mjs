// What the tests of the pages' words share: the strings of a script, and what each language owes.
import assert from 'node:assert/strict';
import ts from 'typescript';

const holders = (form) => [...form.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort();

/** The strings of a script, the fixed parts of its templates, and if wanted its objects' keys. */
export function stringsOf(source, withKeys = false) {
  const found = [];
  const visit = (node) => {
    if (withKeys && ts.isPropertyAssignment(node)) found.push(node.name.text);
    if (ts.isStringLiteralLike(node) && !ts.isImportDeclaration(node.parent)) found.push(node.text);
    if (ts.isTemplateHead(node) || ts.isTemplateMiddleOrTemplateTail(node)) found.push(node.text);
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile('x.js', source, ts.ScriptTarget.ES2022, true));
  return found;
}

/** Each language has every text, with the same values and all of its plurals. */
export function wholeInEach(texts) {
  const [first, ...others] = Object.keys(texts);
  const keys = Object.keys(texts[first]).sort();
  for (const language of [first, ...others]) {
    assert.deepEqual(Object.keys(texts[language]).sort(), keys, language);
    const { pluralCategories } = new Intl.PluralRules(language).resolvedOptions();
    for (const key of keys) {
      const entry = texts[language][key];
      const forms = typeof entry === 'string' ? { other: entry } : entry;
      if (typeof entry !== 'string') {
        const plurals = Object.keys(entry).sort();
        assert.deepEqual(plurals, [...pluralCategories].sort(), `${language} ${key}`);
      }
      const model = texts[first][key];
      const wanted = holders(typeof model === 'string' ? model : model.other);
      for (const form of Object.values(forms)) {
        assert.ok(form.trim(), `${language} ${key} is empty`);
        assert.deepEqual(holders(form), wanted, `${language} ${key}`);
      }
    }
  }
}

/** Whether a string is for people. */
export const isText = (words) =>
  /\p{L}{2,},? \p{L}{2,}|^\p{Lu}\p{Ll}+$|[¿¡…’“”]/u.test(words);

/** The words that a page's markup holds itself, and those of its attributes. */
export function textsOf(markup) {
  const between = [...markup.replace(/<!doctype html>/, '').matchAll(/>([^<]*\p{L}[^<]*)</gu)];
  const attributes = /\b(?:aria-label|title|placeholder|alt)="([^"]*\p{L}[^"]*)"/gu;
  const plain = [...markup.matchAll(attributes)].filter(({ index }) => (
    !markup.slice(0, index).endsWith('data-')));
  return [...new Set([...between, ...plain].map(([, words]) => words.trim()))];
}

/** The keys that a page's markup asks for. */
export const keysOf = (markup) =>
  [...markup.matchAll(/data-(?:text|label|placeholder|title)="(\w+)"/g)].map(([, key]) => key);
