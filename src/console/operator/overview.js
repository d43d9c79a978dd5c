// How the hub is: what is wrong, the numbers now, and the last hour.
import { has, locale, text } from '../texts.js';
import { age, bytes, el, percent, short, table } from './parts.js';

const ms = (number) => `${short(number)} ms`;
const TILES = [
  ['connections', 'members', short],
  ['spaces', 'spaces', short],
  ['chats_a_second', 'chats', short],
  ['sends_a_second', 'sends', short],
  ['bytes_a_second', 'sent_bytes', bytes],
  ['members_blocked', 'blocked', short],
  ['evictions_a_second', 'evictions', short],
  ['refusals_a_second', 'refusals', short],
  ['waiting_for_store', 'journal_bytes', bytes],
  ['batch_takes', 'batch_ms', ms],
  ['accept_p99', 'accept_p99_ms', ms],
  ['durable_p99', 'durable_p99_ms', ms],
  ['processors', 'cpu', (number) => percent(number)],
  ['memory', 'resident_bytes', bytes],
  ['dead_letters', 'dead_letters', short],
  ['requests_a_second', 'requests', short],
];

/** A chart's title, its lines (number and name), and how its numbers are written. */
const CHARTS = [
  ['connections', [['members', 'line_connections'], ['blocked', 'line_blocked']], short],
  ['chart_chats', [['chats', 'line_chats'], ['stored', 'line_stored']], short],
  ['chart_sends', [['sends', 'line_sends'], ['frames', 'line_frames']], short],
  ['chart_bytes', [['sent_bytes', 'line_bytes']], bytes],
  ['chart_joins', [['joins', 'line_joins'], ['leaves', 'line_leaves']], short],
  ['chart_evictions', [['evictions', 'line_evictions'], ['refusals', 'line_refusals']], short],
  ['waiting_for_store', [['journal_bytes', 'line_journals']], bytes],
  ['chart_batch', [['batch_ms', 'ms']], short],
  ['chart_accept', [['accept_p50_ms', 'p50'], ['accept_p99_ms', 'p99']], short],
  ['chart_durable', [['durable_p50_ms', 'p50'], ['durable_p99_ms', 'p99']], short],
  ['processors', [['cpu', 'line_busy']], short],
  ['memory', [['resident_bytes', 'line_resident']], bytes],
];

export class Overview {
  #feed;
  #charts = [];
  #parts;
  #redraw;

  constructor(feed) {
    this.#feed = feed;
  }

  open(view) {
    const tiles = TILES.map(([title]) =>
      el('div', { className: 'tile' }, el('dt', {}, text(title)), el('dd', {}, '–')),
    );
    this.#parts = {
      conditions: el('section', { 'aria-label': text('conditions') }),
      tiles,
      figures: CHARTS.map((chart) => this.#figure(chart)),
      tables: el('section', { className: 'two' }),
    };
    view.append(
      el('h2', {}, text('overview')),
      this.#parts.conditions,
      el('section', { 'aria-label': text('now') }, el('dl', { className: 'tiles' }, ...tiles)),
      el(
        'section',
        { 'aria-label': text('last_hour') },
        el('h3', {}, text('last_hour')),
        el('div', { className: 'charts' }, ...this.#parts.figures.map(({ figure }) => figure)),
      ),
      this.#parts.tables,
    );
    this.#draw();
    this.#redraw = () => this.#draw();
    this.#feed.addEventListener('sample', this.#redraw);
    this.resized = () => this.#charts.forEach((it) => it.plot.setSize(size(it.box)));
    window.addEventListener('resize', this.resized);
    window.addEventListener('themed', this.#redraw);
  }

  close() {
    this.#feed.removeEventListener('sample', this.#redraw);
    window.removeEventListener('resize', this.resized);
    window.removeEventListener('themed', this.#redraw);
    this.#charts.forEach(({ plot }) => plot.destroy());
    this.#charts = [];
  }

  #figure([name, keys, format]) {
    const title = text(name);
    const lines = keys.map(([number, key]) => [number, has(key) ? text(key) : key]);
    const box = el('div', { className: 'chart', role: 'img' });
    const figure = el('figure', { className: 'panel' }, el('figcaption', {}, title), box);
    return { figure, box, title, lines, format };
  }

  #draw() {
    const { last, at, series } = this.#feed;
    TILES.forEach(([, number, format], which) => {
      const value = last?.numbers[number];
      this.#parts.tiles[which].lastChild.textContent = value === undefined ? '–' : format(value);
    });
    for (const part of this.#parts.figures) this.#chart(part, at, series);
    if (!last) return;
    this.#conditions(last.ready.conditions ?? []);
    this.#tables(last);
  }

  #chart(part, at, series) {
    const data = [at, ...part.lines.map(([number]) => series[number] ?? at.map(() => null))];
    const said = part.lines.map(
      ([number, label]) => `${label} ${part.format(series[number]?.at(-1) ?? NaN)}`,
    );
    part.box.setAttribute(
      'aria-label',
      text('chart_now', { title: part.title, numbers: said.join(', ') }),
    );
    const theme = getComputedStyle(document.documentElement).getPropertyValue('--one');
    const known = this.#charts.find(({ box }) => box === part.box);
    if (known && known.theme === theme) {
      known.plot.setData(data);
      return;
    }
    if (known) {
      known.plot.destroy();
      this.#charts = this.#charts.filter((it) => it !== known);
    }
    if (!part.box.isConnected || typeof uPlot === 'undefined') return;
    this.#charts.push({ box: part.box, theme, plot: new uPlot(options(part), data, part.box) });
  }

  #conditions(conditions) {
    const shown = conditions.map((it) =>
      el(
        'div',
        { className: 'condition' },
        el('strong', {}, text('wrong_for', { name: it.name, time: age(it.since) })),
        // The hub's own words, which are the log's and the documents' too.
        el('p', { lang: 'en' }, it.meaning),
        it.detail ? el('p', { className: 'soft', lang: 'en' }, it.detail) : null,
        el('p', {}, el('strong', {}, text('what_to_do')), ' ', el('span', { lang: 'en' }, it.do)),
      ),
    );
    const nothing = el('p', { className: 'soft' }, text('nothing_wrong'));
    this.#parts.conditions.replaceChildren(...(shown.length > 0 ? shown : [nothing]));
  }

  #tables({ refusals, closes, shards }) {
    const counted = (caption, counts, empty) => {
      const rows = Object.entries(counts).sort(([, one], [, two]) => two - one);
      return el(
        'div',
        { className: 'panel' },
        table(
          caption,
          [
            [text('why'), ([name]) => el('code', {}, name)],
            [text('since_start'), ([, count]) => short(count), 'number'],
          ],
          rows,
          empty,
        ),
      );
    };
    const sends = shards.reduce((sum, shard) => sum + shard.sends, 0);
    const balance = el(
      'div',
      { className: 'panel' },
      table(
        text('shards'),
        [
          [text('shard'), (it) => String(shards.indexOf(it))],
          [text('connections'), (it) => String(it.members), 'number'],
          [text('spaces'), (it) => String(it.spaces), 'number'],
          [
            text('part_of_sends'),
            (it) => percent(sends > 0 ? it.sends / sends : NaN, 1),
            'number',
          ],
          [text('logs'), (it) => bytes(it.log_bytes), 'number'],
        ],
        shards,
      ),
    );
    this.#parts.tables.replaceChildren(
      counted(text('refusals_by_code'), refusals, text('none')),
      counted(text('ends_by_reason'), closes, text('none')),
      balance,
    );
  }
}

function size(box) {
  return { width: Math.max(200, box.clientWidth), height: 140 };
}

function options({ box, lines, format }) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = {
    stroke: colour('--soft'),
    grid: { stroke: colour('--grid') },
    ticks: { stroke: colour('--grid') },
  };
  // Away from the pointer the legend says what is now.
  const value = (plot, number, which) => {
    const shown = number ?? plot.data[which].at(-1);
    return shown === undefined || shown === null ? '–' : format(shown);
  };
  return {
    ...size(box),
    cursor: { y: false },
    legend: { live: true },
    scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
    axes: [
      { ...axis, values: (_, marks) => marks.map(clock) },
      { ...axis, size: 62, values: (_, marks) => marks.map(format) },
    ],
    series: [
      { label: text('chart_at'), value: (plot, at) => clock(at ?? plot.data[0].at(-1)) },
      ...lines.map(([, label], which) => ({
        label,
        value,
        width: 1.5,
        stroke: colour(which === 0 ? '--one' : '--two'),
        points: { show: false },
      })),
    ],
  };
}

function clock(seconds) {
  if (seconds === undefined || seconds === null) return '–';
  return new Date(seconds * 1000).toLocaleTimeString(locale, { hourCycle: 'h23' });
}
