// The hub, as the console asks it: with the operator's key, and the feed that does not end.

const KEY = 'cpi-hub.operator-key';

/** What the hub says instead of an answer. */
export class HubError extends Error {
  constructor(status, message, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** The key that was shown in this tab. */
export const key = {
  get() {
    return sessionStorage.getItem(KEY) ?? '';
  },
  set(value) {
    sessionStorage.setItem(KEY, value);
  },
  forget() {
    sessionStorage.removeItem(KEY);
  },
};

function headers(more = {}) {
  const shown = key.get();
  return shown ? { ...more, Authorization: `Bearer ${shown}` } : more;
}

async function refused(response) {
  const body = await response.json().catch(() => ({}));
  const text = body.detail ?? body.message ?? body.error ?? response.statusText;
  return new HubError(
    response.status,
    typeof text === 'string' ? text : response.statusText,
    body.code,
  );
}

/** Asks the hub something; throws a `HubError` where it refuses. */
export async function ask(path, { method = 'GET', body, signal } = {}) {
  const more = { Accept: 'application/problem+json, application/json;q=0.9' };
  if (body !== undefined) more['Content-Type'] = 'application/json';
  const response = await fetch(path, {
    method,
    signal,
    headers: headers(more),
    cache: 'no-store',
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (!response.ok) throw await refused(response);
  return response.json();
}

/**
 * Reads a stream of events until `signal`: each event's name, data and id go to `hear`. Returns
 * when the hub ends it; throws where it refuses, or is lost.
 */
export async function listen(path, hear, signal, more = {}) {
  const response = await fetch(path, { signal, headers: headers(more), cache: 'no-store' });
  if (!response.ok) throw await refused(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const event = read(text.slice(0, end));
      text = text.slice(end + 2);
      if (event) hear(event);
    }
  }
}

function read(block) {
  const event = { name: 'message', data: '', id: undefined };
  let some = false;
  for (const line of block.split('\n')) {
    const at = line.indexOf(':');
    if (at <= 0) continue;
    const value = line.slice(at + 1).replace(/^ /, '');
    const name = line.slice(0, at);
    if (name === 'event') event.name = value;
    else if (name === 'id') event.id = value;
    else if (name === 'data') {
      event.data += some ? `\n${value}` : value;
      some = true;
    }
  }
  return some ? event : null;
}
