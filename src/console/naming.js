// What spaces are called, where the hub's database has names for them.
import { text } from './texts.js';
import { shownName } from './words.js';

/** Asks the hub. @returns {Promise<string>} '' where there is no name, or no answer */
export async function nameOfSpace(space, token) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(`v1/spaces/${space}`, { headers })
    .then((response) => (response.ok ? response.json() : null)).catch(() => null);
  return shownName(answer?.name ?? '');
}

/** A space by its name, or else by its number. */
export const calledSpace = (space, name) => name || text('space', { space: String(space) });
