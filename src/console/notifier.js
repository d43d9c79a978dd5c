// Notifications by the browser, where the person asked for them.
import { shortened } from './announcer.js';
import { recall, remember } from './memory.js';
import { text } from './texts.js';
import { nameOf } from './words.js';

/** A busy space shows its newest message once in this time. */
const REST_MS = 2_000;

/** Why there are none: '' where they can be had, else the key of the reason. */
export function lack() {
  if (!globalThis.isSecureContext) return 'notify_insecure';
  if (!('Notification' in globalThis)) return 'notify_missing';
  return Notification.permission === 'denied' ? 'notify_denied' : '';
}

/** Whether the person has them. */
export const isOn = () => recall('notify') === 'on' && !lack()
  && Notification.permission === 'granted';

/** Asks the browser, and shows a first one. @returns {Promise<boolean>} whether they are on */
export async function turnOn() {
  if (lack() || await Notification.requestPermission() !== 'granted') return false;
  // Some browsers, on phones above all, show none for pages, and say so only when asked to.
  if (!show(text('notify_on'), { tag: 'cpi-hub' })) return false;
  remember('notify', 'on');
  return true;
}

export function turnOff() {
  remember('notify', '');
}

function show(title, options) {
  try { return new Notification(title, options); } catch { return null; }
}

export class Notifier {
  #space;
  #waiting = null;
  #timer = null;
  #shown = null;

  /** @param {{tag: string, title: () => string, opened: () => void}} space */
  constructor(space) {
    this.#space = space;
  }

  /** Shows a message, unless a newer one comes before its turn. */
  heard(message) {
    if (!isOn()) return;
    this.#waiting = message;
    this.#timer ??= setTimeout(() => this.#show(), 0);
  }

  /** Takes away what is shown: the person is here. */
  end() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#waiting = null;
    this.#shown?.close();
    this.#shown = null;
  }

  #show() {
    this.#timer = null;
    if (!this.#waiting) return;
    const message = this.#waiting;
    this.#waiting = null;
    this.#timer = setTimeout(() => this.#show(), REST_MS);
    const { tag, title, opened } = this.#space;
    const named = text('notify_title', { name: nameOf(message), space: title() });
    const body = shortened(message.content);
    const shown = show(named, { body, tag, renotify: true, lang: document.documentElement.lang });
    if (!shown) return;
    this.#shown = shown;
    shown.onclick = () => {
      globalThis.focus();
      shown.close();
      opened();
    };
  }
}
