// What a hub says of its spaces: what they are called, where its database has names for them, and
// whether they can be searched.
import { text } from './texts.js';
import { shownName } from './words.js';

/**
 * Asks the hub.
 * @returns {Promise<{name: string, search: boolean}>} `name`: '' where there is none, or no answer
 */
export async function aboutSpace(space, token) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(`v1/spaces/${space}`, { headers })
    .then((response) => (response.ok ? response.json() : null)).catch(() => null);
  return { name: shownName(answer?.name ?? ''), search: answer?.search === true };
}

/** A space by its name, or else by its number. */
export const calledSpace = (space, name) => name || text('space', { space: String(space) });
