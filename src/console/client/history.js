// Stored messages and who is here, as the hub answers over HTTP. No state of its own.
import { HubError, baseOf, pause, request } from './http.js';
import { jitter } from './seams.js';

const PAGE_SIZE = 50;
/** A position before all others. */
const BEGIN = '0'.repeat(26);
const AGAIN = { min: 500, max: 20_000 };
/** Whoever reads on waits that long for a hub that is away or busy, and no longer. */
const PATIENCE_MS = 120_000;

/** One page, ascending by id: {messages, hasMore}. */
export async function readPage(spaceId, { before, after, limit = PAGE_SIZE, url, ...via }) {
  const address = new URL(`v1/spaces/${spaceId}/messages`, baseOf(url));
  for (const [key, value] of Object.entries({ before, after, limit })) {
    if (value != null) address.searchParams.set(key, value);
  }
  const { body } = await request(address, via, { has: 'data' });
  return { messages: body.data, hasMore: body.has_more };
}

/** A page of what is found by its words, newest first: {messages, hasMore, complete}. */
export async function readFound(spaceId, query, { before, limit, url, ...via }) {
  const address = new URL(`v1/spaces/${spaceId}/search`, baseOf(url));
  for (const [key, value] of Object.entries({ q: query, before, limit })) {
    if (value != null) address.searchParams.set(key, value);
  }
  const { body } = await request(address, via, { has: 'data' });
  return { messages: body.data, hasMore: body.has_more, complete: body.complete };
}

/** Who is in a space: {members, users, truncated}. */
export async function readPresence(spaceId, { url, ...via }) {
  const address = new URL(`v1/spaces/${spaceId}/presence`, baseOf(url));
  return (await request(address, via, { has: 'members' })).body;
}

/**
 * All messages of a range one by one. A page is asked for when the one before it has been taken.
 * @param {(range: object) => Promise<object>} read a page
 * @param {{after?: string, before?: string, newestFirst?: boolean, pageSize?: number,
 *   signal?: AbortSignal}} range
 * @param {object} seams
 */
export async function* readAll(read, { pageSize: limit, newestFirst, ...range }, seams) {
  const { signal } = range;
  let { after, before } = range;
  if (!newestFirst) after ??= BEGIN;
  for (;;) {
    const bounds = newestFirst ? { before } : { after, before };
    const page = await patiently(() => read({ ...bounds, limit, signal }), seams, signal);
    const messages = newestFirst ? [...page.messages].reverse() : page.messages;
    for (const message of messages) {
      if (newestFirst && after != null && message.id <= after) return;
      yield message;
    }
    if (!page.hasMore || !messages.length) return;
    const { id } = messages.at(-1);
    if (newestFirst) before = id;
    else after = id;
  }
}

// Asks again where the hub was away or busy, not before it says, with jitter.
async function patiently(ask, seams, signal) {
  const began = seams.elapsed();
  for (let tries = 1; ; tries++) {
    try {
      return await ask();
    } catch (error) {
      const ms = (error.retryAfterMs ?? 0) + jitter(seams.random, tries, AGAIN);
      const isLate = seams.elapsed() - began + ms >= PATIENCE_MS;
      if (!(error instanceof HubError) || !mayPass(error) || isLate) throw error;
      await pause(seams, ms, signal);
    }
  }
}

function mayPass({ status, code }) {
  if (status === null) return code === 'unreachable' || code === 'no_answer';
  return status === 408 || status === 429 || status >= 500;
}
