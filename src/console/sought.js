// The words of what is looked for, and where a text has them: by the rules by which the hub finds
// them (docs/WIRE.md K).
import { folded } from './words.js';

export const WORD = /[\p{L}\p{N}\p{M}]+/gu;

/** The words of a query, each as a text is asked whether it has it. */
export function wordsOf(query) {
  return [...query.matchAll(WORD)].map(({ 0: word, index }) => (
    { word: folded(word), isBeginning: query[index + word.length] === '*' }));
}

/** A text in pieces, of which those in a list are words that were found. */
export function piecesOf(content, words) {
  const pieces = [];
  let done = 0;
  for (const { 0: found, index } of content.matchAll(WORD)) {
    const plain = folded(found);
    const isSought = words.some(({ word, isBeginning }) => (
      isBeginning ? plain.startsWith(word) : plain === word));
    if (!isSought) continue;
    pieces.push(content.slice(done, index), [found]);
    done = index + found.length;
  }
  return [...pieces, content.slice(done)].filter((piece) => piece.length);
}
