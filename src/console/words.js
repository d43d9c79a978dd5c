// Names, letters and days: how what people write and when they wrote it is shown.
import { locale, text } from './texts.js';

/** What turns or hides what stands beside it and says nothing itself; emoji and scripts that join
 * their letters need some of these. */
const NEEDED = '[\\u200c\\u200d\\ufe0e\\ufe0f\\u{e0020}-\\u{e007f}]';
const TRICKS = new RegExp(`(?!${NEEDED})[\\p{Cc}\\u2028\\u2029\\u2800\\p{DI}]`, 'gu');
const VISIBLE = /[\p{L}\p{N}\p{P}\p{S}]/u;
/** A letter may carry accents, but not a tower of them. */
const TOWERS = /(\p{M}{2})\p{M}+/gu;
const LETTER = /^[\p{L}\p{N}]/u;
const LATEST_MS = 8.64e15;
const EMOJI = new RegExp('^(?:\\p{Emoji_Presentation}|\\p{Extended_Pictographic}|[\\u200d\\ufe0f'
  + '\\u{1f3fb}-\\u{1f3ff}\\u{1f1e6}-\\u{1f1ff}\\u{e0020}-\\u{e007f}\\s])+$', 'u');
const FEW = 4;
const LONG_DAY = { weekday: 'long', day: 'numeric', month: 'long' };
const letters = new Intl.Segmenter('en', { granularity: 'grapheme' });
let formats = {};

/** How times are written; made anew for another language, as making them is slow. */
function format() {
  if (formats.locale === locale) return formats;
  const of = (options) => new Intl.DateTimeFormat(locale, options);
  formats = {
    locale,
    clock: of({ hour: 'numeric', minute: '2-digit' }),
    longDay: of(LONG_DAY),
    withYear: of({ ...LONG_DAY, year: 'numeric' }),
    fullTime: of({ dateStyle: 'full', timeStyle: 'medium' }),
  };
  return formats;
}

/** A name as it is shown: without tricks; '' where nothing is left of it. */
export function shownName(name) {
  const seen = name.replace(TRICKS, '').replace(TOWERS, '$1').replace(/\s+/g, ' ').trim();
  return VISIBLE.test(seen) ? seen : '';
}

/** What a person is called, which is never nothing. */
export const nameOf = ({ username = '', user_id }) => (
  shownName(username) || text('user', { id: String(user_id) }));

/** A name or a word as it is looked for: small letters without accents. */
export const folded = (name) => name.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase();

/** The first letters of the first two words of a name; an emoji stands alone. */
export function initialsOf(name) {
  const [first = '?', second = ''] = name.split(' ').slice(0, 2).map(firstLetter);
  const both = LETTER.test(first) && LETTER.test(second);
  return (both ? first + second : first).toLocaleUpperCase(locale);
}

function firstLetter(word) {
  const all = [...letters.segment(word)].map(({ segment }) => segment);
  return all.find((segment) => LETTER.test(segment)) ?? all[0];
}

/** Whether a text is a few emoji and nothing else. */
export function isFewEmoji(content) {
  if (content.length > 64 || !EMOJI.test(content)) return false;
  const seen = [...letters.segment(content)].filter(({ segment }) => segment.trim());
  return seen.length > 0 && seen.length <= FEW;
}

/** An instant as the hub writes it; what no calendar has is as late as can be. */
export function instantOf(timestamp) {
  const ms = new Date(timestamp).getTime();
  return new Date(Number.isNaN(ms) ? LATEST_MS : ms);
}

/** The time of day, and all of the time. */
export const timeOf = (date) => format().clock.format(date);
export const fullTimeOf = (date) => format().fullTime.format(date);

/** Whether two instants are of one day here. */
export const sameDay = (a, b) => new Date(a).toDateString() === new Date(b).toDateString();

/** The day of an instant, as people call it on a day. */
export function dayOf(at, now) {
  const yesterday = new Date(now);
  yesterday.setDate(yesterday.getDate() - 1);
  if (sameDay(at, now)) return text('today');
  if (sameDay(at, yesterday)) return text('yesterday');
  const year = new Date(at).getFullYear() === new Date(now).getFullYear();
  const day = (year ? format().longDay : format().withYear).format(at);
  return day.charAt(0).toLocaleUpperCase(locale) + day.slice(1);
}

/** Milliseconds until the next day begins here. */
export function untilMidnight(now) {
  const next = new Date(now);
  next.setHours(24, 0, 0, 0);
  return next.getTime() - now;
}
