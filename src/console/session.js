// One stay in one space, from joining to leaving: what the connection says becomes words.
import { Actions } from './actions.js';
import { Announcer } from './announcer.js';
import { HubClient } from './client.js';
import { Composer, Countdown, refusalOf } from './composer.js';
import { toast } from './copying.js';
import { Place } from './memory.js';
import { aboutSpace, calledSpace } from './naming.js';
import { Notifier } from './notifier.js';
import { People } from './people.js';
import { Search } from './search.js';
import { has, say, text } from './texts.js';
import { Timeline, isLookedAt } from './timeline.js';
import { nameOf } from './words.js';

const NOWHERE = '0'.repeat(26);
/** The conversation begins without its past where that does not come. */
const HISTORY_WAIT_MS = 8_000;
const HUB = 'CPI Hub';

const $ = (id) => document.getElementById(id);

export class Session {
  #me; #place; #client; #timeline; #people; #leave; #announcer; #notifier;
  #actions;
  #composer = new Composer({
    measure: (content) => this.#client?.measure(content, { image: this.#me.image }),
    send: (content) => this.#send(content),
    drafted: (content) => { this.#place.draft = content; },
  });
  #countdown = new Countdown();
  #state = { state: 'connecting' };
  #ending = new AbortController();
  #joined = false;
  #unread = 0;
  /** What the hub calls the space, if anything. */
  #spaceName = '';

  /**
   * @param {{spaceId: number, userId: number, username: string, token?: string,
   *   image?: string}} me
   * @param {{message: string, leave: (why: () => string) => void}} means `message`: id of the one
   *   to begin with; `leave`: called where the hub wants another token
   */
  constructor(me, { message, leave }) {
    const { spaceId, userId } = me;
    this.#me = me;
    this.#leave = leave;
    this.#place = new Place(spaceId, userId);
    this.#people = new People(userId);
    this.#announcer = new Announcer($('live'));
    this.#notifier = new Notifier({
      tag: `cpi-hub.${spaceId}`, title: () => this.#name, opened: () => this.#timeline.toNewest(),
    });
    this.#timeline = this.#newTimeline();
    say($('space-title'), () => this.#name);
    say($('space-title'), () => text('space', { space: String(spaceId) }), 'title');
    $('banner').hidden = true;
    this.#composer.begin(this.#place.draft);
    this.#showState(this.#state);
    this.#showTitle();
    this.#watch();
    this.#open(message);
    this.#askAbout();
  }

  async #askAbout() {
    const { spaceId, token } = this.#me;
    const { name, search } = await aboutSpace(spaceId, token);
    if (this.#ended) return;
    if (search) this.#offerSearch();
    this.#spaceName = name;
    if (!name) return;
    say($('space-title'), () => this.#name);
    this.#showTitle();
  }

  #offerSearch() {
    const { spaceId, token } = this.#me;
    const find = (query, options) => HubClient.search(spaceId, query, { ...options, token });
    const goTo = (id) => this.goTo(id);
    return new Search({ find, goTo, signal: this.#ending.signal });
  }

  #newTimeline() {
    const { spaceId, userId, token } = this.#me;
    const fetch = (address, options) => globalThis.fetch(address, {
      ...options, signal: AbortSignal.timeout(HISTORY_WAIT_MS),
    });
    const parts = {
      scroller: $('scroller'), list: $('messages'), outbox: $('outbox'), pill: $('pill'),
      historyState: $('history-state'), empty: $('empty'), skeleton: $('skeleton'),
      unreadBar: $('unread-bar'), unreadText: $('unread-text'), unreadJump: $('unread-jump'),
      unreadRead: $('unread-read'),
    };
    const { signal } = this.#ending;
    this.#actions = new Actions(parts, { space: spaceId, leave: () => $('draft').focus(), signal });
    return new Timeline(parts, {
      userId,
      read: this.#place.read,
      changed: ({ count, read }) => this.#counted(count, read),
      history: (range) => HubClient.history(spaceId, { ...range, token, fetch }),
    });
  }

  #watch() {
    const { signal } = this.#ending;
    const on = (target, type, run) => target.addEventListener(type, run, { signal });
    const returned = () => { if (isLookedAt()) this.#notifier.end(); };
    on(globalThis, 'focus', returned);
    on(document, 'visibilitychange', returned);
    for (const type of ['online', 'offline']) {
      on(globalThis, type, () => this.#showState(this.#state));
    }
    on(globalThis, 'languagechosen', () => {
      this.#showTitle();
      this.#composer.count();
    });
    on(globalThis, 'pagehide', () => this.#place.write());
    // What is on its way would be lost, and the draft is kept anyway.
    on(globalThis, 'beforeunload', (event) => {
      if (this.#timeline.isSending) event.preventDefault();
    });
  }

  // History first, then the socket from there: the hub replays what came in between.
  async #open(message) {
    const newest = await this.#timeline.open().catch(() => this.#timeline.failed());
    if (this.#ended) return;
    const { spaceId, userId, username, token } = this.#me;
    const after = newest ?? NOWHERE;
    this.#client = new HubClient({ spaceId, userId, username, token, after, people: true });
    this.#listen();
    this.#client.connect();
    if (message) this.goTo(message);
  }

  /** Shows a message that somebody linked to. */
  async goTo(message) {
    const found = await this.#timeline.goTo(message).catch(() => null);
    if (!found && !this.#ended) toast(found === null ? 'older_failed' : 'message_gone');
  }

  #listen() {
    const on = (type, run) => this.#client.addEventListener(type, (event) => {
      if (!this.#ended) run(event.detail, event);
    });
    on('state', (state) => this.#showState(state));
    on('welcome', () => this.#composer.count());
    on('chat', (message) => this.#chat(message));
    on('people', (people) => this.#people.show(people));
    on('join', (who) => this.#join(who));
    on('leave', (who) => this.#left(who));
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
      const known = has(`refused_${code}`) ? code : 'store_refused';
      if (id) this.#timeline.unstored(id, () => refusalOf(known));
    });
  }

  #chat(message) {
    this.#timeline.add(message);
    if (message.user_id === this.#me.userId) return;
    if (!document.hidden) this.#announcer.heard(message);
    if (!isLookedAt()) this.#notifier.heard(message);
  }

  // A second tab of somebody is nobody new; neither is oneself after a lost connection.
  #join(who) {
    const own = who.user_id === this.#me.userId;
    if (own && !this.#joined) this.#timeline.notice('joined_self', nameOf(who), true);
    if (!own && (this.#connectionsOf(who) ?? 1) === 1) this.#timeline.notice('joined', nameOf(who));
    this.#joined ||= own;
  }

  #left(who) {
    if (who.user_id === this.#me.userId || this.#connectionsOf(who) || !who.username) return;
    this.#timeline.notice('left', nameOf(who));
  }

  #connectionsOf({ user_id }) {
    return this.#client.people.users?.find((user) => user.user_id === user_id)?.connections;
  }

  get #ended() { return this.#ending.signal.aborted; }

  get #name() { return calledSpace(this.#me.spaceId, this.#spaceName); }

  #counted(count, read) {
    this.#place.read = read;
    if (count === this.#unread) return;
    this.#unread = count;
    this.#showTitle();
  }

  // The tab's title, with what arrived unseen.
  #showTitle() {
    const title = text('title_space', { space: this.#name, hub: HUB });
    document.title = this.#unread ? text('title_unread', { count: this.#unread, title }) : title;
  }

  // The connection in plain words.
  #showState(state) {
    this.#state = state;
    const { state: phase, reason, retryInMs } = state;
    if (phase === 'closed' && reason === 'unauthorized') {
      return this.#leave(() => text('stops_unauthorized'));
    }
    const banner = $('banner');
    $('status').dataset.state = phase;
    say($('status-text'), () => text(phase));
    // While it reconnects the banner stays as it is, so that the page doesn't jump.
    if (phase === 'open') banner.hidden = true;
    this.#countdown.end($('banner-countdown'));
    if (phase === 'open' || phase === 'connecting' || reason === 'page_hidden') return;
    banner.dataset.state = phase;
    banner.hidden = false;
    say($('retry-button'), () => text(phase === 'waiting' ? 'retry_now' : 'join_again'));
    say($('banner-text'), () => (phase === 'closed' ? endOf(reason) : waitOf(reason)));
    if (phase === 'closed') return;
    this.#countdown.run(retryInMs ?? 0, $('banner-countdown'), 'reconnecting_in');
  }

  retry() {
    this.#client?.connect();
  }

  /** Gives the focus to the last message. */
  toMessages() {
    this.#actions.focusNewest();
  }

  submit() {
    this.#composer.submit();
  }

  /** The draft has changed. */
  drafted() {
    this.#composer.changed();
  }

  async #send(content) {
    const nonce = HubClient.nonce();
    const { username, image } = this.#me;
    this.#timeline.send(nonce, content, username);
    try {
      const { id, level } = await this.#client.send(content, { ack: 'durable', nonce, image });
      this.#timeline.sent(nonce, id, level === 'durable' ? 'stored' : 'accepted');
    } catch (error) {
      if (!this.#ended && !error.id) this.#refused(nonce, content, error);
    }
  }

  // The text goes back to the composer; when something is written there, it waits in sight.
  #refused(nonce, content, { code, retryAfterMs }) {
    const words = () => refusalOf(code);
    const restore = () => this.#composer.restore(content);
    const actions = { edit: restore, discard: () => true };
    this.#timeline.refused(nonce, words, restore() ? null : actions);
    this.#composer.refused(words, retryAfterMs);
  }

  end() {
    this.#place.write();
    this.#ending.abort();
    this.#countdown.end($('banner-countdown'));
    this.#client?.close();
    this.#people.end();
    this.#timeline.end();
    this.#composer.end();
    this.#announcer.end();
    this.#notifier.end();
  }
}

function waitOf(reason) {
  if (!navigator.onLine) return text('offline');
  const key = `waits_${reason}`;
  return has(key) ? text(key, { origin: location.origin }) : text('lost');
}

function endOf(reason) {
  const key = `stops_${reason}`;
  return text(has(key) ? key : 'ended');
}
