// Links and texts for the person's clipboard, and the word that they are there.
import { say, text } from './texts.js';

const SHOWN_MS = 2_500;
let hiding = null;

/** The address of a space, or of a message in it: what can be given to others, so nobody's. */
export function addressOf(space, message = '') {
  const query = new URLSearchParams({ space, ...(message && { message }) });
  return `${location.origin}${location.pathname}#${query}`;
}

/**
 * Copies words. Without a secure context there is no clipboard: then they are shown, to be copied.
 * @returns {Promise<boolean>} whether they are in the clipboard
 */
export async function copy(words, doneKey, byHandKey) {
  const copied = await (navigator.clipboard?.writeText(words) ?? Promise.reject())
    .then(() => true, () => false);
  if (copied) toast(doneKey);
  else prompt(text(byHandKey), words);
  return copied;
}

/** A few words at the edge of the screen, for a moment. */
export function toast(key) {
  const node = document.getElementById('toast');
  clearTimeout(hiding);
  // The same words once more are something new to a screen reader only behind a silence.
  node.textContent = '';
  requestAnimationFrame(() => say(node, () => text(key)));
  hiding = setTimeout(() => say(node, () => ''), SHOWN_MS);
}
