// How the hub is: what is wrong, the numbers now, and the last hour.
import { ago, bytes, el, short, table } from './parts.js';

const TILES = [
  ['Connections', 'members', short],
  ['Spaces', 'spaces', short],
  ['Chats a second', 'chats', short],
  ['Sends a second', 'sends', short],
  ['Bytes a second', 'sent_bytes', bytes],
  ['Members that take nothing', 'blocked', short],
  ['Evictions a second', 'evictions', short],
  ['Refusals a second', 'refusals', short],
  ['Waiting for the store', 'journal_bytes', bytes],
  ['A batch takes', 'batch_ms', (number) => `${short(number)} ms`],
  ['Accept to sent, p99', 'accept_p99_ms', (number) => `${short(number)} ms`],
  ['Durable ack, p99', 'durable_p99_ms', (number) => `${short(number)} ms`],
  ['Processors', 'cpu', (number) => `${(100 * number).toFixed(0)} %`],
  ['Memory', 'resident_bytes', bytes],
  ['Dead letters', 'dead_letters', short],
  ['Requests a second', 'requests', short],
];

const CHARTS = [
  [
    'Connections',
    [
      ['members', 'connections'],
      ['blocked', 'taking nothing'],
    ],
    short,
  ],
  [
    'Chats and stored rows a second',
    [
      ['chats', 'chats'],
      ['stored', 'stored'],
    ],
    short,
  ],
  [
    'Sends a second, and frames appended',
    [
      ['sends', 'sends'],
      ['frames', 'frames'],
    ],
    short,
  ],
  ['Bytes sent a second', [['sent_bytes', 'bytes']], bytes],
  [
    'Joins and leaves a second',
    [
      ['joins', 'joins'],
      ['leaves', 'leaves'],
    ],
    short,
  ],
  [
    'Evictions and refusals a second',
    [
      ['evictions', 'evictions'],
      ['refusals', 'refusals'],
    ],
    short,
  ],
  ['Waiting for the store', [['journal_bytes', 'journals']], bytes],
  ['A batch in the store, ms', [['batch_ms', 'ms']], short],
  [
    'Accept to sent, ms',
    [
      ['accept_p50_ms', 'p50'],
      ['accept_p99_ms', 'p99'],
    ],
    short,
  ],
  [
    'Durable ack, ms',
    [
      ['durable_p50_ms', 'p50'],
      ['durable_p99_ms', 'p99'],
    ],
    short,
  ],
  ['Processors', [['cpu', 'busy']], short],
  ['Memory', [['resident_bytes', 'resident']], bytes],
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
      el('div', { className: 'tile' }, el('dt', {}, title), el('dd', {}, '–')),
    );
    this.#parts = {
      conditions: el('section', { 'aria-label': 'Conditions' }),
      tiles,
      figures: CHARTS.map((chart) => this.#figure(chart)),
      tables: el('section', { className: 'two' }),
    };
    view.append(
      el('h2', {}, 'Overview'),
      this.#parts.conditions,
      el('section', { 'aria-label': 'Now' }, el('dl', { className: 'tiles' }, ...tiles)),
      el(
        'section',
        { 'aria-label': 'The last hour' },
        el('h3', {}, 'The last hour'),
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

  #figure([title, lines, format]) {
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
    part.box.setAttribute('aria-label', `${part.title}: ${said.join(', ')} now`);
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
        el('strong', {}, it.name),
        ` for ${ago(it.since)}. ${it.meaning}`,
        it.detail ? el('p', { className: 'soft' }, it.detail) : null,
        el('p', { className: 'do' }, it.do),
      ),
    );
    const nothing = el('p', { className: 'soft' }, 'Nothing is wrong.');
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
            ['Why', ([name]) => el('code', {}, name)],
            ['Since the start', ([, count]) => String(count), 'number'],
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
        'Shards',
        [
          ['Shard', (it) => String(shards.indexOf(it))],
          ['Connections', (it) => String(it.members), 'number'],
          ['Spaces', (it) => String(it.spaces), 'number'],
          [
            'Part of all sends',
            (it) => (sends > 0 ? `${((100 * it.sends) / sends).toFixed(1)} %` : '–'),
            'number',
          ],
          ['Logs', (it) => bytes(it.log_bytes), 'number'],
        ],
        shards,
      ),
    );
    this.#parts.tables.replaceChildren(
      counted('Refusals by code', refusals, 'None.'),
      counted('Ends of connections by reason', closes, 'None.'),
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
      { label: 'at', value: (plot, at) => clock(at ?? plot.data[0].at(-1)) },
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
  return new Date(seconds * 1000).toLocaleTimeString('en-GB');
}
