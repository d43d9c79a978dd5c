// The page: the join form, the connection in plain words, the composer and the people list.
import { HubClient } from './client.js';
import { Timeline, avatar, element } from './timeline.js';

const NOWHERE = '0'.repeat(26);
const I32_MAX = 2 ** 31 - 1;
const HTTP_WAIT_MS = 8_000;
const COUNTER_FROM = 0.7;
/** Time to read why: the hub often asks for a few milliseconds only. */
const BLOCK_MIN_MS = 1_000;
const PEOPLE_TRIES_MAX = 3;
const PEOPLE_SHOWN_MAX = 500;
const SPACES_SHOWN_MAX = 6;

const REFUSALS = {
  rate_limited: 'You are sending too fast.',
  content_too_long: 'The message is too long.',
  message_too_big: 'The message is too long.',
  content_empty: 'The message is empty.',
  content_invalid: 'The message contains characters that are not allowed.',
  overloaded: 'The hub is very busy. Try again in a moment.',
  store_unavailable: 'The hub can’t store messages right now. Try again in a moment.',
  draining: 'The hub is restarting. Try again in a moment.',
  unknown_user: 'The hub doesn’t know your user id.',
  unknown_space: 'This space doesn’t exist.',
  store_refused: 'The message could not be stored.',
  too_many_pending: 'Too many messages are waiting for the connection.',
  unknown_outcome: 'The connection was lost before the hub answered. '
    + 'Check above whether the message arrived before you send it again.',
  closed: 'You are not connected.',
};
const WAITS = {
  restart: 'The hub is restarting.',
  draining: 'The hub is restarting.',
  overloaded: 'The hub is very busy.',
  internal: 'The hub had a problem.',
  store_unavailable: 'The hub can’t reach its store.',
  too_slow: 'Your connection could not keep up.',
  pong_timeout: 'Your connection went silent.',
  no_answer: 'The hub doesn’t answer.',
  too_fast: 'You sent too much in a short time.',
  rate_limited: 'You connected too often in a short time.',
  too_many_connections: 'The hub is full at the moment.',
};
const STATES = {
  connecting: 'Connecting…',
  open: 'Connected',
  waiting: 'Waiting to reconnect',
  closed: 'Not connected',
};
const STOPS = {
  kicked: 'You were removed from this space.',
  forbidden: 'You are not allowed in this space with this user id.',
  unauthorized: 'This hub asks for a valid access token.',
  invalid_parameter: 'The hub refused the name, user id or space number.',
};

const $ = (id) => document.getElementById(id);
let session = null;

/** One stay in one space, from joining to leaving. */
class Session {
  #me; #client; #timeline;
  #people = new People();
  #blockedUntil = 0;
  #countdowns = { banner: null, composer: null };
  #ended = false;
  #joined = false;
  #unread = 0;

  constructor(me) {
    const { spaceId, userId, token } = me;
    const fetch = (address, options) => globalThis.fetch(address, {
      ...options, signal: AbortSignal.timeout(HTTP_WAIT_MS),
    });
    const history = (range) => HubClient.history(spaceId, { ...range, token, fetch });
    const parts = {
      scroller: $('scroller'), list: $('messages'), outbox: $('outbox'), pill: $('pill'),
      historyState: $('history-state'), empty: $('empty'),
    };
    this.#me = me;
    this.#timeline = new Timeline(parts, { userId, history });
    $('space-title').textContent = `Space ${spaceId}`;
    $('banner').hidden = true;
    this.#showState({ state: 'connecting' });
    this.showTitle();
    this.#open();
  }

  // History first, then the socket from there: the hub replays what came in between.
  async #open() {
    const newest = await this.#timeline.open().catch(() => this.#timeline.failed());
    if (this.#ended) return;
    const after = newest === null ? NOWHERE : newest;
    this.#client = new HubClient({ ...this.#me, after });
    this.#listen();
    this.#client.connect();
  }

  #listen() {
    const on = (type, run) => this.#client.addEventListener(type, (event) => {
      if (!this.#ended) run(event.detail, event);
    });
    on('state', (state) => this.#showState(state));
    on('welcome', ({ members }) => {
      this.#people.count(members);
      this.count();
    });
    on('chat', (message) => this.#chat(message));
    on('join', (who) => this.#join(who));
    on('leave', (who) => {
      const gone = this.#people.leave(who);
      if (gone) this.#timeline.notice(`${gone} left`);
    });
    on('presence', ({ members }) => this.#people.countOnly(members));
    // Too much was missed to show it all: go on from what is known, the rest comes by scrolling.
    on('gap', (hole, event) => {
      event.preventDefault();
      this.#timeline.clear();
    });
    on('resumed', () => this.#timeline.readOn());
    on('ack', ({ nonce, id, level }) => {
      this.#timeline.sent(nonce, id, level === 'durable' ? 'stored' : 'accepted');
    });
    on('error', ({ id, code }) => {
      if (id) this.#timeline.unstored(id, REFUSALS[code] ?? REFUSALS.store_refused);
    });
  }

  #chat(message) {
    this.#timeline.add(message);
    if (!document.hidden || message.user_id === this.#me.userId) return;
    this.#unread += 1;
    this.showTitle();
  }

  #join(who) {
    const own = who.user_id === this.#me.userId;
    const came = this.#people.join(who);
    if (own) this.#people.read(() => this.#client.presence());
    if (own && !this.#joined) this.#timeline.notice(`You joined as ${who.username}`);
    if (came && !own) this.#timeline.notice(`${came} joined`);
    this.#joined ||= own;
  }

  /** The tab's title, with what arrived unseen. */
  showTitle() {
    if (!document.hidden) this.#unread = 0;
    const unread = this.#unread ? `(${this.#unread}) ` : '';
    document.title = `${unread}Space ${this.#me.spaceId} · CPI Hub`;
  }

  #showState({ state, reason, retryAt }) {
    if (state === 'closed' && reason === 'unauthorized') return leave(STOPS.unauthorized);
    const banner = $('banner');
    $('status').dataset.state = state;
    $('status-text').textContent = STATES[state];
    banner.dataset.state = state;
    clearInterval(this.#countdowns.banner);
    $('banner-countdown').textContent = '';
    // While it reconnects the banner stays as it is, so that the page doesn't jump.
    if (state === 'open') banner.hidden = true;
    if (state !== 'waiting' && state !== 'closed') return;
    banner.hidden = false;
    $('retry-button').textContent = state === 'waiting' ? 'Retry now' : 'Join again';
    if (state === 'closed') {
      $('banner-text').textContent = STOPS[reason] ?? 'The hub ended the connection.';
      return;
    }
    const lost = navigator.onLine ? 'The connection to the hub was lost.' : 'You are offline.';
    $('banner-text').textContent = WAITS[reason] ?? lost;
    this.#countdowns.banner = countDown(retryAt, 'banner-countdown', 'Reconnecting in');
  }

  retry() {
    this.#client?.connect();
  }

  submit() {
    const content = $('draft').value;
    if (!content.trim() || Date.now() < this.#blockedUntil) return;
    const size = this.#client?.measure(content);
    if (!size) return showRefusal(REFUSALS.closed);
    if (!size.fits) return showRefusal(`The message is too long by ${excess(size)}.`);
    showRefusal('');
    $('draft').value = '';
    this.count();
    this.#send(content);
  }

  async #send(content) {
    const nonce = HubClient.nonce();
    this.#timeline.send(nonce, content, this.#me.username);
    try {
      const { id, level } = await this.#client.send(content, { ack: 'durable', nonce });
      this.#timeline.sent(nonce, id, level === 'durable' ? 'stored' : 'accepted');
    } catch (error) {
      if (!this.#ended && !error.id) this.#refused(nonce, content, error);
    }
  }

  // The text goes back to the composer; when something is written there, it waits in sight.
  #refused(nonce, content, { code, message, retryAfterMs }) {
    const words = REFUSALS[code] ?? message;
    const restore = () => {
      if ($('draft').value) return false;
      $('draft').value = content;
      this.count();
      return true;
    };
    this.#timeline.refused(nonce, words, restore() ? null : { Edit: restore, Discard: () => true });
    showRefusal(words);
    if (retryAfterMs) this.#block(retryAfterMs);
  }

  #block(ms) {
    const until = Date.now() + Math.max(ms, BLOCK_MIN_MS);
    this.#blockedUntil = Math.max(this.#blockedUntil, until);
    clearInterval(this.#countdowns.composer);
    const free = () => {
      showRefusal('');
      this.count();
    };
    const words = 'You can send again in';
    const timer = countDown(this.#blockedUntil, 'composer-countdown', words, free);
    this.#countdowns.composer = timer;
    this.count();
  }

  /** The counter, the button and the height of the composer, after each change of the draft. */
  count() {
    const [draft, counter] = [$('draft'), $('counter')];
    draft.style.height = 'auto';
    draft.style.height = `${draft.scrollHeight}px`;
    const size = this.#client?.measure(draft.value);
    const blocked = !size?.fits || !draft.value.trim() || Date.now() < this.#blockedUntil;
    $('send-button').setAttribute('aria-disabled', String(blocked));
    counter.textContent = '';
    if (!size?.bytesMax) return;
    Object.assign(counter.dataset, { chars: size.chars, bytes: size.bytes });
    counter.toggleAttribute('data-over', !size.fits);
    const full = Math.max(size.chars / size.charsMax, size.bytes / size.bytesMax);
    if (!size.fits) counter.textContent = `${excess(size)} over`;
    else if (draft.value && full >= COUNTER_FROM) counter.textContent = `${remainder(size)} left`;
  }

  end() {
    this.#ended = true;
    Object.values(this.#countdowns).forEach(clearInterval);
    this.#client?.close();
    this.#timeline.end();
    showRefusal('');
  }
}

/** Who is here: a list while the hub announces each one, a number in big spaces. */
class People {
  #users = new Map();
  #changes = 0;
  #drawing = 0;

  constructor() {
    this.countOnly(0);
    $('people-note').hidden = true;
  }

  /** Reads the list, again if somebody came or went meanwhile. */
  async read(presence) {
    for (let tries = 0; tries < PEOPLE_TRIES_MAX; tries++) {
      const before = this.#changes;
      const list = await presence().catch(() => null);
      if (!list) return;
      this.#users = new Map(list.users.map((user) => [user.user_id, user]));
      this.#show();
      if (!list.truncated && before === this.#changes) return;
      if (list.truncated) return this.countOnly(list.members);
    }
  }

  /** @returns {string} the name of who came and was not here before, else '' */
  join({ user_id, username }) {
    this.#changes += 1;
    const connections = (this.#users.get(user_id)?.connections ?? 0) + 1;
    this.#users.set(user_id, { user_id, username, connections });
    this.#show();
    return connections === 1 ? username : '';
  }

  /** @returns {string} the name of who has no connection left, else '' */
  leave({ user_id }) {
    this.#changes += 1;
    const user = this.#users.get(user_id);
    if (!user) return '';
    user.connections -= 1;
    if (user.connections > 0) return '';
    this.#users.delete(user_id);
    this.#show();
    return user.username;
  }

  count(members) {
    $('people-count').textContent = members.toLocaleString('en');
  }

  countOnly(members) {
    this.#users.clear();
    this.count(members);
    cancelAnimationFrame(this.#drawing);
    $('people-list').replaceChildren();
    show('people-note', 'So many people are here that only their number is shown.');
  }

  #show() {
    const users = [...this.#users.values()].sort((a, b) => a.username.localeCompare(b.username));
    this.count(users.length);
    $('people-note').hidden = true;
    cancelAnimationFrame(this.#drawing);
    this.#drawing = requestAnimationFrame(() => this.#draw(users));
  }

  #draw(users) {
    $('people-list').replaceChildren(...users.slice(0, PEOPLE_SHOWN_MAX).map((user) => element(
      'li', { 'data-user-id': user.user_id, title: `User id ${user.user_id}` }, avatar(user),
      element('span', { class: 'name', dir: 'auto' }, user.username),
    )));
  }
}

function show(id, text) {
  $(id).textContent = text;
  $(id).hidden = !text;
}

function showRefusal(text) {
  $('composer-error-text').textContent = text;
  $('composer-countdown').textContent = '';
  $('composer-error').hidden = !text;
}

function countDown(until, id, words, ended) {
  const tick = () => {
    const seconds = Math.ceil((until - Date.now()) / 1000);
    $(id).textContent = seconds > 0 ? `${words} ${seconds} s.` : '';
    if (seconds > 0) return;
    clearInterval(timer);
    ended?.();
  };
  const timer = setInterval(tick, 250);
  tick();
  return timer;
}

const plural = (count, word) => `${count} ${word}${count === 1 ? '' : 's'}`;

function excess({ chars, charsMax, bytes, bytesMax }) {
  if (chars > charsMax) return plural(chars - charsMax, 'character');
  return plural(bytes - bytesMax, 'byte');
}

function remainder({ chars, charsMax, bytes, bytesMax }) {
  if (charsMax - chars <= bytesMax - bytes) return plural(charsMax - chars, 'character');
  return plural(bytesMax - bytes, 'byte');
}

function recall(key, store = localStorage) {
  try { return store.getItem(`cpi-hub.${key}`) ?? ''; } catch { return ''; }
}

function remember(key, value, store = localStorage) {
  try { store.setItem(`cpi-hub.${key}`, value); } catch { /* Storage is off: not kept. */ }
}

// What the address asks for, in its query or after its `#`.
function asked() {
  const hash = location.hash.replace(/^#\??/, '');
  const given = Object.fromEntries(
    [...new URLSearchParams(location.search), ...new URLSearchParams(hash)],
  );
  return { space: '', user_id: '', username: '', token: '', ...given };
}

function ownUserId() {
  const random = crypto.getRandomValues(new Uint32Array(1))[0] % 2e9 + 1e8;
  const id = recall('user_id') || String(random);
  remember('user_id', id);
  return id;
}

function join() {
  const username = $('username').value.trim();
  const spaceId = Number($('space').value);
  const userId = Number($('user-id').value || ownUserId());
  const token = $('token').value;
  if (!username) return show('join-error', 'Enter a name.');
  for (const [id, name] of [[spaceId, 'space number'], [userId, 'user id']]) {
    if (Number.isInteger(id) && id >= -I32_MAX - 1 && id <= I32_MAX) continue;
    return show('join-error', `The ${name} must be a whole number of at most ${I32_MAX}.`);
  }
  show('join-error', '');
  remember('username', username);
  remember('token', token, sessionStorage);
  const address = new URLSearchParams({ space: spaceId, user_id: userId, username });
  history.replaceState(null, '', `${location.pathname}#${address}`);
  document.body.dataset.view = 'chat';
  $('chat').hidden = false;
  openPeople(matchMedia('(min-width: 761px)').matches);
  session = new Session({ spaceId, userId, username, token: token || undefined });
  $('draft').focus();
}

function leave(why = '') {
  session?.end();
  session = null;
  history.replaceState(null, '', location.pathname);
  document.title = 'CPI Hub';
  document.body.dataset.view = 'join';
  $('chat').hidden = true;
  show('join-error', why);
  $('more').open ||= Boolean(why);
  $(why ? 'token' : 'username').focus();
  offerSpaces();
}

function openPeople(open) {
  $('people').toggleAttribute('data-open', open);
  $('people-button').setAttribute('aria-expanded', String(open));
}

function closePeople() {
  openPeople(false);
  $('people-button').focus();
}

// On a phone the list lies over the conversation.
function coversPage(node) {
  return getComputedStyle(node).position === 'fixed' && node.hasAttribute('data-open');
}

async function offerSpaces() {
  const found = await fetch(`v1/spaces?limit=${SPACES_SHOWN_MAX}`)
    .then((response) => (response.ok ? response.json() : null)).catch(() => null);
  const buttons = (found?.data ?? []).map(({ space_id, members }) => {
    const many = members === 1 ? '1 person' : `${members} people`;
    const people = element('span', { class: 'hint' }, many);
    const button = element('button', { type: 'button' }, `Space ${space_id}`, people);
    button.onclick = () => {
      $('space').value = space_id;
      $('join-form').requestSubmit();
    };
    return button;
  });
  $('spaces').replaceChildren(...buttons);
  $('spaces').hidden = buttons.length === 0;
}

function start() {
  const { space, user_id, username, token } = asked();
  $('space').value = space || '1';
  $('user-id').value = user_id;
  $('username').value = username || recall('username');
  $('token').value = token || recall('token', sessionStorage);
  if (space && username) join();
  else offerSpaces();
}

const on = (id, type, run) => $(id).addEventListener(type, run);
on('join-form', 'submit', (event) => {
  event.preventDefault();
  join();
});
on('composer', 'submit', (event) => {
  event.preventDefault();
  session?.submit();
});
on('draft', 'input', () => session?.count());
on('draft', 'keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  session?.submit();
});
on('retry-button', 'click', () => session?.retry());
on('leave-button', 'click', () => leave());
on('people-button', 'click', () => {
  openPeople(!$('people').hasAttribute('data-open'));
  if (coversPage($('people'))) $('people-close').focus();
});
on('people-close', 'click', () => closePeople());
document.addEventListener('keydown', ({ key }) => {
  if (key === 'Escape' && coversPage($('people'))) closePeople();
});
document.addEventListener('visibilitychange', () => session?.showTitle());
addEventListener('hashchange', () => location.reload());
start();
