// What all views are made of: elements, numbers as people read them, tables.
import { locale, text } from '../texts.js';

/**
 * An element: its properties (those that begin with `aria-` or `data-` as attributes, `on...` as
 * listeners) and what is in it.
 */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.includes('-')) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const UNITS = [
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
];

/** A number as it is written here, in so many digits at most. */
const digits = (number, options) => new Intl.NumberFormat(locale, options).format(number);
const three = (number) =>
  digits(number, { minimumSignificantDigits: 3, maximumSignificantDigits: 3, useGrouping: false });

/** A number in three or four digits. */
export function short(number) {
  if (!Number.isFinite(number)) return '–';
  for (const [size, unit] of UNITS) {
    if (Math.abs(number) >= size) return `${three(number / size)} ${unit}`;
  }
  if (Number.isInteger(number)) return digits(number);
  const places = Math.abs(number) < 10 ? 2 : 1;
  return digits(number, { minimumFractionDigits: places, maximumFractionDigits: places });
}

/** Bytes, in powers of 1024. */
export function bytes(number) {
  if (!Number.isFinite(number)) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? digits(Math.round(number)) : three(number)} ${units[unit]}`;
}

/** A share of 1, in percent. */
export function percent(share, places = 0) {
  if (!Number.isFinite(share)) return '–';
  const fraction = { minimumFractionDigits: places, maximumFractionDigits: places };
  return digits(share, { style: 'percent', ...fraction });
}

/** How long an instant is past. */
export function age(at, now = Date.now()) {
  const seconds = Math.max(0, Math.round((now - Date.parse(at)) / 1000));
  if (!Number.isFinite(seconds)) return '–';
  if (seconds < 90) return `${seconds} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** How long ago an instant was, in words. */
export const ago = (at) => text('ago', { time: age(at) });

/**
 * A table: columns are `[title, cell, kind]`, where `cell` makes of a row what stands there, and
 * `kind` is `number`, `wide` or nothing.
 */
export function table(caption, columns, rows, empty = text('nothing')) {
  const head = columns.map(([title, , kind]) =>
    el('th', { scope: 'col', className: kind ?? '' }, title),
  );
  const cells = (row) =>
    columns.map(([, cell, kind]) => el('td', { className: kind ?? '' }, cell(row)));
  const body =
    rows.length > 0
      ? rows.map((row) => el('tr', {}, ...cells(row)))
      : [el('tr', {}, el('td', { colSpan: columns.length, className: 'soft' }, empty))];
  return el(
    'div',
    { className: 'scroll', tabIndex: 0, role: 'region', 'aria-label': caption },
    el(
      'table',
      {},
      el('caption', {}, caption),
      el('thead', {}, el('tr', {}, ...head)),
      el('tbody', {}, ...body),
    ),
  );
}

/** A field of a form: its label and its input. */
export function field(label, properties) {
  return el(
    'label',
    {},
    label,
    el('input', { autocomplete: 'off', spellcheck: false, ...properties }),
  );
}
