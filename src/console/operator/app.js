// The console: which view is shown, the operator's key, theme and language, and the feed under all
// of it.
import { recall, remember } from '../memory.js';
import { fill, learn, nodes, say, speak, text } from '../texts.js';
import { Connections } from './connections.js';
import en from './en.js';
import es from './es.js';
import { Feed } from './feed.js';
import { Frames } from './frames.js';
import { ask, key } from './hub.js';
import { Overview } from './overview.js';
import { Spaces } from './spaces.js';
import { Store } from './store.js';

const THEME = 'cpi-hub.console-theme';
const $ = (id) => document.getElementById(id);
let feed = null;
let shown = null;
let keyProblem = '';

learn({ en, es });

function route() {
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
  const [name = '', which] = path.split('/');
  const id = which === undefined ? undefined : encodeURIComponent(decodeURIComponent(which));
  switch (name) {
    case 'spaces':
      return ['spaces', new Spaces(id)];
    case 'connections':
      return ['connections', new Connections(new URLSearchParams(query))];
    case 'frames':
      return ['frames', new Frames(id)];
    case 'store':
      return ['store', new Store(feed)];
    default:
      return ['overview', new Overview(feed)];
  }
}

function show() {
  shown?.close();
  const [name, view] = route();
  for (const link of document.querySelectorAll('nav a')) {
    if (link.getAttribute('href') === `#/${name}`) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  $('view').replaceChildren();
  shown = view;
  view.open($('view'));
  document.title = text('title', { view: text(name) });
}

function showStatus() {
  const status = feed.state === 'live' ? feed.last.ready.status : feed.state;
  $('status').dataset.is = status;
  $('status').textContent = text(`status_${status}`);
}

function begin() {
  feed?.stop();
  feed = new Feed();
  feed.addEventListener('state', showStatus);
  feed.addEventListener('sample', showStatus);
  feed.addEventListener('refused', () => askForKey('key_may_not'));
  $('sign-out').hidden = key.get() === '';
  show();
  feed.run();
}

function askForKey(why) {
  feed?.stop();
  keyProblem = why;
  $('key-error').textContent = why && text(why);
  if (!$('key-dialog').open) $('key-dialog').showModal();
}

async function open() {
  try {
    await ask('v1/spaces?limit=1');
    begin();
  } catch (error) {
    if (error.status === 401 || error.status === 403) {
      askForKey(key.get() === '' ? '' : 'key_not_taken');
    } else begin();
  }
}

$('key-form').addEventListener('submit', () => {
  key.set($('key').value.trim());
  $('key').value = '';
  open();
});
$('key-dialog').addEventListener('cancel', (event) => event.preventDefault());
$('sign-out').addEventListener('click', () => {
  key.forget();
  location.reload();
});

function wear(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  window.dispatchEvent(new Event('themed'));
}
$('theme').value = localStorage.getItem(THEME) ?? '';
wear($('theme').value);
$('theme').addEventListener('change', () => {
  localStorage.setItem(THEME, $('theme').value);
  wear($('theme').value);
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () =>
  window.dispatchEvent(new Event('themed')),
);

/** Says all anew: what stands in the markup, and the view, which is made again. */
function sayIn(language) {
  speak(language);
  $('key-error').textContent = keyProblem && text(keyProblem);
  if (!feed) return;
  showStatus();
  show();
}
fill(document);
say($('key-why'), () => nodes('key_why', { scopes: 'operate, read, say, kick' }));
$('language').value = recall('language');
sayIn($('language').value);
$('language').addEventListener('change', () => {
  remember('language', $('language').value);
  sayIn($('language').value);
});

window.addEventListener('hashchange', show);
open();
