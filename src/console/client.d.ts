/** Types of client.js: the client of a cpi-hub space. */

export declare const SUBPROTOCOL: 'cpi-hub.v1';
/** Sends without any answer yet; one more is refused with `too_many_pending`. */
export declare const PENDING_MAX: number;
/** Accepted sends waiting for `durable`; over it the oldest resolves with level `accepted`. */
export declare const STORING_MAX: number;
/** Frames held while missed messages are fetched; over it the client reconnects and goes on. */
export declare const HELD_MAX: number;
/** A resend is safe within the hub's publish-once window. */
export declare const RESEND_WINDOW_MS: number;

export type AckLevel = 'accepted' | 'durable';

/** What a hub refuses with; its docs/CODES.md says more of each. */
export type HubRefusal =
  'body_too_large' | 'content_empty' | 'content_invalid' | 'content_too_long' | 'draining' |
  'forbidden' | 'internal' | 'invalid_chat_message' | 'invalid_message_format' |
  'invalid_parameter' | 'invalid_upgrade' | 'nonce_reused' | 'not_yet_stored' | 'overloaded' |
  'rate_limited' | 'request_timeout' | 'search_off' | 'space_mismatch' | 'store_refused' |
  'store_unavailable' | 'too_many_connections' | 'unauthorized' | 'unknown_message_type' |
  'unknown_space' | 'unknown_user' | 'validation_error';
/** What this client refuses with. */
export type ClientRefusal =
  'aborted' | 'closed' | 'gap_not_filled' | 'no_answer' | 'nonce_pending' | 'origin_refused' |
  'token_failed' | 'too_many' | 'too_many_pending' | 'unknown_outcome' | 'unreachable';
/** Others are a proxy's (`http_502`), or a later hub's. */
export type HubErrorCode = HubRefusal | ClientRefusal | (string & {});

/** What the hub, or this client, refused. */
export declare class HubError extends Error {
  readonly name: 'HubError';
  readonly code: HubErrorCode;
  readonly retryAfterMs: number | null;
  /** Of a message that had been accepted and that the store then refused. */
  readonly id: string | null;
  /** Of an answer over HTTP. */
  readonly status: number | null;
  constructor(code: string, message?: string, more?: {
    retryAfterMs?: number | null, id?: string | null, status?: number | null,
  });
}

/**
 * Gives a token or a promise of it: asked before each connection, when the last one ends soon, and
 * again in a while where it fails (`error` with code `token_failed`).
 */
export type GetToken = () => string | null | undefined | Promise<string | null | undefined>;
export type HubToken = string | GetToken;

export interface HubOptions {
  /** Address of the hub; default: where this module came from. Needed in a bundle, a package. */
  url?: string | URL;
  spaceId: number | string;
  userId: number | string;
  /** Default: the hub's `User{id}`. */
  username?: string;
  /** Where the hub asks for one: a token, or a program's key. A function is `getToken`. */
  token?: HubToken;
  /** Where tokens end. With `token` beside it, that one is shown first. */
  getToken?: GetToken;
  /** Position to resume from: id of the last message seen. */
  after?: string;
  /** Keep the list of who is here, and dispatch `people`: one more request a connection. */
  people?: boolean;
  /** Where the runtime has none (Node before 22: that of package `ws`), or another one. */
  WebSocket?: WebSocketConstructor;
  fetch?: typeof globalThis.fetch;
}

/** As much of a WebSocket as is used. */
export interface SocketLike {
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(text: string): void;
  close(code?: number): void;
}
export type WebSocketConstructor = new (url: string, protocols?: string | string[]) =>
  SocketLike;

export interface HubMessage {
  id: string;
  content: string;
  user_id: number;
  username: string;
  space_id: number;
  /** ISO 8601 with microseconds and offset. */
  timestamp: string;
  image: string;
}

export interface HubUser {
  user_id: number;
  username: string;
  connections: number;
}

export interface HubPresence {
  space_id: number;
  members: number;
  users: HubUser[];
  truncated: boolean;
}

export interface HubWelcome {
  connection_id: string;
  space_id: number;
  user_id: number;
  username: string;
  position: string;
  members: number;
  message_bytes_max: number;
  content_chars_max: number;
  ping_period_ms: number;
}

export interface HubState {
  state: 'connecting' | 'open' | 'waiting' | 'closed';
  /** Why: `new`, `welcome`, `connection_lost`, `no_answer`, `restart`, `kicked`, … */
  reason: string;
  code?: number;
  /** When it is tried again, in ms since 1970; null where the page decides. */
  retryAt?: number | null;
  retryInMs?: number | null;
}

export interface HubWho {
  user_id: number;
  username: string;
  space_id: number;
  timestamp: string;
}

export interface HubEvents {
  state: CustomEvent<HubState>;
  open: CustomEvent<Record<string, never>>;
  welcome: CustomEvent<HubWelcome>;
  /** Each id once, in order; `history`: read back over HTTP to fill a gap. */
  chat: CustomEvent<HubMessage & { history: boolean }>;
  join: CustomEvent<HubWho>;
  /** `username` is '' unless option `people` is set. */
  leave: CustomEvent<HubWho>;
  presence: CustomEvent<{ space_id: number, members: number }>;
  /** `users` is null where only the number is known. */
  people: CustomEvent<{ members: number, users: HubUser[] | null }>;
  resumed: CustomEvent<{
    from: string, to: string, count: number, complete: boolean, reason?: string,
  }>;
  /** The hub can't replay (after, from]; `preventDefault()`: the client shall not read it. */
  gap: CustomEvent<{ after: string, from: string, reason: string }>;
  ack: CustomEvent<{ nonce: string, id: string, level: AckLevel, duplicate: boolean }>;
  closing: CustomEvent<{ code: number, reason: string, retry_after_ms?: number }>;
  expiring: CustomEvent<{ expires_in_ms: number }>;
  error: CustomEvent<{
    code: HubErrorCode, message: string, ref?: string, id?: string, field?: string,
    retry_after_ms?: number,
  }>;
}

export interface HistoryRange {
  before?: string;
  after?: string;
  /** Default 50, at most 100. */
  limit?: number;
  /** Ends the wait: rejects with code `aborted`. */
  signal?: AbortSignal;
}

export interface HistoryPage {
  /** Ascending by id. */
  messages: HubMessage[];
  hasMore: boolean;
}

export interface SearchOptions {
  /** Only what is older: the id of the last message of the page before. */
  before?: string;
  /** Default 20, at most 100. */
  limit?: number;
  /** Ends the wait: rejects with code `aborted`. */
  signal?: AbortSignal;
}

export interface SearchPage {
  /** Newest first. */
  messages: HubMessage[];
  hasMore: boolean;
  /** False while the hub's index does not have all messages yet. */
  complete: boolean;
}

export interface MessagesRange {
  /** Only what is newer; default: from the first message on. */
  after?: string;
  /** Only what is older; default: to the newest. */
  before?: string;
  /** The other way round, as one scrolls back. */
  newestFirst?: boolean;
  /** Messages of one request; default 50, at most 100. */
  pageSize?: number;
  /** Ends it: rejects with code `aborted`. */
  signal?: AbortSignal;
}

/** Where a hub is and what it is shown, for what needs no connection. */
export interface HubVia {
  url?: string | URL;
  token?: string;
  fetch?: typeof globalThis.fetch;
}

export interface HubListenerOptions {
  capture?: boolean;
  once?: boolean;
  passive?: boolean;
  signal?: AbortSignal;
}
export type HubListener =
  ((event: Event) => void) | { handleEvent(event: Event): void } | null;

export declare class HubClient extends EventTarget {
  constructor(options: HubOptions);

  readonly state: HubState;
  /** Id of the last message dispatched; hand it to a later client as `after`. */
  readonly position: string | null;
  /** The hub's last `welcome`. */
  readonly limits: HubWelcome | null;
  /** With option `people`: who is here, as the last `people` event said. */
  readonly people: { members: number, users: HubUser[] | null } | null;
  /**
   * Set at `expiring`: the hub is shown the next token, and the connection goes on. Or set after a
   * close with reason `unauthorized`, then call `connect()`.
   */
  set token(token: HubToken | undefined);

  /** Connects, or retries at once when waiting. */
  connect(): this;
  /** Leaves for good; what is still unanswered is rejected with `closed`. */
  close(): void;
  /** Rejects with a HubError. */
  send(content: string, options?: { ack?: AckLevel, image?: string, nonce?: string }):
    Promise<{ id: string, level: AckLevel, duplicate: boolean }>;
  /** Size of a message against the hub's limits (null before the first welcome). */
  measure(content: string, options?: { ack?: AckLevel, image?: string, nonce?: string }): {
    chars: number, charsMax: number | null, bytes: number, bytesMax: number | null, fits: boolean,
  };
  /** A page of the history of this client's space; without a range the newest. */
  history(range?: HistoryRange): Promise<HistoryPage>;
  /**
   * All messages of a range, for `for await`. Each page is asked for when the one before it was
   * taken, and again where the hub is away or busy, for two minutes.
   */
  messages(range?: MessagesRange): AsyncGenerator<HubMessage, void, undefined>;
  /**
   * What was said in this client's space and has all of these words; `"words in a row"`, and `wor*`
   * for words that begin so. Where the hub has it off, rejects with code `search_off`.
   */
  search(query: string, options?: SearchOptions): Promise<SearchPage>;
  /** Who is here now; option `people` keeps that up to date. */
  presence(options?: { signal?: AbortSignal }): Promise<HubPresence>;

  static history(spaceId: number | string, options?: HistoryRange & HubVia): Promise<HistoryPage>;
  static messages(spaceId: number | string, options?: MessagesRange & HubVia):
    AsyncGenerator<HubMessage, void, undefined>;
  static search(spaceId: number | string, query: string, options?: SearchOptions & HubVia):
    Promise<SearchPage>;
  static presence(spaceId: number | string, options?: HubVia & { signal?: AbortSignal }):
    Promise<HubPresence>;
  /** A fresh 16-byte key for `send`. */
  static nonce(): string;

  addEventListener<K extends keyof HubEvents>(
    type: K, listener: (this: HubClient, event: HubEvents[K]) => void,
    options?: boolean | HubListenerOptions,
  ): void;
  addEventListener(
    type: string, listener: HubListener, options?: boolean | HubListenerOptions,
  ): void;
  removeEventListener<K extends keyof HubEvents>(
    type: K, listener: (this: HubClient, event: HubEvents[K]) => void,
    options?: boolean | { capture?: boolean },
  ): void;
  removeEventListener(
    type: string, listener: HubListener, options?: boolean | { capture?: boolean },
  ): void;
}

/** How long to wait after a close, in ms, or null for never: the hub's table of close codes. */
export declare function retryDelay(
  code: number, closing: { retry_after_ms?: number } | null | undefined, jitterMs: number,
): number | null;
