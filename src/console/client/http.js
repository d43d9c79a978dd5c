// Requests to the hub, and the one error that all of the client speaks in. No state of its own.

/** A request without an answer for that long is given up. */
export const HTTP_WAIT_MS = 15_000;

const NOT_WHOLE = 'the answer was cut short, or is not the hub’s';

/** What the hub (or this client) refused: `code` is a slug such as `rate_limited`. */
export class HubError extends Error {
  constructor(code, message, { retryAfterMs = null, id = null, status = null } = {}) {
    super(message || code);
    Object.assign(this, { name: 'HubError', code, retryAfterMs, id, status });
  }
}

/** The hub's address with a final slash, as HTTP; relative ones are the page's. */
export function baseOf(url) {
  let base = '';
  try {
    base = url && new URL(url, globalThis.location?.href).href.replace(/^ws/, 'http');
  } catch { /* Said below. */ }
  if (!/^https?:/.test(base)) {
    throw new TypeError(`say where the hub is, as in { url: 'https://hub.example' }, not "${url}"`);
  }
  return base.endsWith('/') ? base : `${base}/`;
}

/**
 * Asks the hub; resolves {status, body, headers}, rejects with a HubError. An answer that says yes
 * but was cut short, or is somebody else's (a captive portal's page), has reached nobody: what it
 * says of the request is not known.
 * @param {URL|string} address
 * @param {{token?: string, fetch?: Function, timers?: object, waitMs?: number,
 *   signal?: AbortSignal}} via
 * @param {{method?: string, headers?: object, body?: string, mode?: string, has?: string}} [init]
 *   with `has`, a member that the hub's answer always has
 */
export async function request(address, via, { headers, has, ...init } = {}) {
  const { token, fetch = globalThis.fetch } = via;
  // A problem carries the retry hint in its body, which a page of another origin can read.
  const sent = { Accept: 'application/problem+json, application/json', ...headers };
  if (token) sent.Authorization = `Bearer ${token}`;
  return bounded(via, async (signal) => {
    const options = { cache: 'no-store', ...init, headers: sent, signal };
    const response = await fetch(address, options).catch((error) => {
      throw new HubError('unreachable', error.message);
    });
    const body = await response.json().catch((error) => {
      // What came whole and is no JSON is a proxy's; the status is all that it says.
      if (error.name === 'SyntaxError') return null;
      throw new HubError('unreachable', NOT_WHOLE);
    });
    if (response.ok) {
      if (!body || (has && body[has] === undefined)) throw new HubError('unreachable', NOT_WHOLE);
      return { status: response.status, body, headers: response.headers };
    }
    const seconds = Number(response.headers.get('Retry-After'));
    throw new HubError(body?.code ?? `http_${response.status}`, body?.message ?? body?.detail, {
      retryAfterMs: body?.retry_after_ms ?? (seconds ? seconds * 1000 : null),
      status: response.status,
    });
  });
}

/** Waits; rejects with a HubError of code `aborted` as soon as the signal says so. */
export function pause(timers, ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = timers.setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, ms);
    function stop() {
      timers.clearTimeout(timer);
      reject(aborted());
    }
    if (signal?.aborted) stop();
    else signal?.addEventListener('abort', stop, { once: true });
  });
}

function aborted() { return new HubError('aborted', 'the caller gave it up'); }

// A promise that ends in time even where what is asked neither answers nor heeds its signal.
function bounded({ timers = globalThis, waitMs = HTTP_WAIT_MS, signal }, ask) {
  const aborting = new AbortController();
  return new Promise((resolve, reject) => {
    const giveUp = (error) => {
      reject(error);
      aborting.abort();
    };
    const stop = () => giveUp(aborted());
    if (signal?.aborted) return stop();
    const timer = timers.setTimeout(() => {
      giveUp(new HubError('no_answer', `no answer within ${waitMs / 1000} s`));
    }, waitMs);
    signal?.addEventListener('abort', stop, { once: true });
    ask(aborting.signal).then(resolve, reject).finally(() => {
      timers.clearTimeout(timer);
      signal?.removeEventListener('abort', stop);
    });
  });
}
