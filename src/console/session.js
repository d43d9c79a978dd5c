// One stay in one space, from joining to leaving: what the connection says becomes words.
import { HubClient } from './client.js';
import { Composer, Countdown, refusalOf } from './composer.js';
import { People } from './people.js';
import { has, text } from './texts.js';
import { Timeline } from './timeline.js';
import { nameOf } from './words.js';

const NOWHERE = '0'.repeat(26);
/** The conversation begins without its past where that does not come. */
const HISTORY_WAIT_MS = 8_000;

const $ = (id) => document.getElementById(id);

export class Session {
  #me; #client; #timeline; #people; #leave;
  #composer = new Composer({
    measure: (content) => this.#client?.measure(content),
    send: (content) => this.#send(content),
  });
  #countdown = new Countdown();
  #state = { state: 'connecting' };
  #ended = false;
  #joined = false;
  #unread = 0;

  /**
   * @param {{spaceId: number, userId: number, username: string, token?: string}} me
   * @param {(why: string) => void} leave called where the hub wants another token
   */
  constructor(me, leave) {
    const { spaceId, userId, token } = me;
    const fetch = (address, options) => globalThis.fetch(address, {
      ...options, signal: AbortSignal.timeout(HISTORY_WAIT_MS),
    });
    const history = (range) => HubClient.history(spaceId, { ...range, token, fetch });
    const parts = {
      scroller: $('scroller'), list: $('messages'), outbox: $('outbox'), pill: $('pill'),
      historyState: $('history-state'), empty: $('empty'),
    };
    this.#me = me;
    this.#leave = leave;
    this.#people = new People(userId);
    this.#timeline = new Timeline(parts, { userId, history });
    $('space-title').textContent = text('space', { space: String(spaceId) });
    $('banner').hidden = true;
    this.#showState(this.#state);
    this.showTitle();
    this.#open();
  }

  // History first, then the socket from there: the hub replays what came in between.
  async #open() {
    const newest = await this.#timeline.open().catch(() => this.#timeline.failed());
    if (this.#ended) return;
    const after = newest ?? NOWHERE;
    this.#client = new HubClient({ ...this.#me, after, people: true });
    this.#listen();
    this.#client.connect();
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
      if (id) this.#timeline.unstored(id, refusalOf(known));
    });
  }

  #chat(message) {
    this.#timeline.add(message);
    if (!document.hidden || message.user_id === this.#me.userId) return;
    this.#unread += 1;
    this.showTitle();
  }

  // A second tab of somebody is nobody new; neither is oneself after a lost connection.
  #join(who) {
    const own = who.user_id === this.#me.userId;
    if (own && !this.#joined) this.#timeline.notice('joined_self', nameOf(who));
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

  /** The tab's title, with what arrived unseen. */
  showTitle() {
    if (!document.hidden) this.#unread = 0;
    const hub = 'CPI Hub';
    const title = text('title_space', { space: String(this.#me.spaceId), hub });
    document.title = this.#unread ? text('title_unread', { count: this.#unread, title }) : title;
  }

  /** The connection in plain words, again when the network comes or goes. */
  showState() {
    this.#showState(this.#state);
  }

  #showState(state) {
    this.#state = state;
    const { state: phase, reason, retryInMs } = state;
    if (phase === 'closed' && reason === 'unauthorized') {
      return this.#leave(text('stops_unauthorized'));
    }
    const banner = $('banner');
    $('status').dataset.state = phase;
    $('status-text').textContent = text(phase);
    // While it reconnects the banner stays as it is, so that the page doesn't jump.
    if (phase === 'open') banner.hidden = true;
    this.#countdown.end($('banner-countdown'));
    if (phase === 'open' || phase === 'connecting' || reason === 'page_hidden') return;
    banner.dataset.state = phase;
    banner.hidden = false;
    $('retry-button').textContent = text(phase === 'waiting' ? 'retry_now' : 'join_again');
    $('banner-text').textContent = phase === 'closed' ? endOf(reason) : waitOf(reason);
    if (phase === 'closed') return;
    this.#countdown.run(retryInMs ?? 0, $('banner-countdown'), 'reconnecting_in');
  }

  retry() {
    this.#client?.connect();
  }

  submit() {
    this.#composer.submit();
  }

  /** The draft has changed. */
  count() {
    this.#composer.count();
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
  #refused(nonce, content, { code, retryAfterMs }) {
    const words = refusalOf(code);
    const restore = () => this.#composer.restore(content);
    const actions = { [text('edit')]: restore, [text('discard')]: () => true };
    this.#timeline.refused(nonce, words, restore() ? null : actions);
    this.#composer.refused(words, retryAfterMs);
  }

  end() {
    this.#ended = true;
    this.#countdown.end($('banner-countdown'));
    this.#client?.close();
    this.#people.end();
    this.#timeline.end();
    this.#composer.end();
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
