// The page: the join form, the address, and what the buttons do.
import { element } from './message.js';
import { openPeopleIfWide } from './people.js';
import { Session } from './session.js';
import { fill, text } from './texts.js';

const I32_MAX = 2 ** 31 - 1;
const SPACES_SHOWN_MAX = 6;
const COPIED_MS = 2_500;

const $ = (id) => document.getElementById(id);
let session = null;

function recall(key, store = 'localStorage') {
  try { return globalThis[store].getItem(`cpi-hub.${key}`) ?? ''; } catch { return ''; }
}

function remember(key, value, store = 'localStorage') {
  try { globalThis[store].setItem(`cpi-hub.${key}`, value); } catch { /* Storage is off. */ }
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

// The address of a space: what can be given to others, and so nothing of who is there.
const addressOf = (space) => `${location.origin}${location.pathname}#space=${space}`;

function join() {
  const username = $('username').value.trim();
  const spaceId = Number($('space').value);
  const userId = Number($('user-id').value || ownUserId());
  const token = $('token').value;
  if (!username) return say('join-error', text('name_missing'));
  for (const [id, key] of [[spaceId, 'space_invalid'], [userId, 'user_id_invalid']]) {
    if (Number.isInteger(id) && id >= -I32_MAX - 1 && id <= I32_MAX) continue;
    return say('join-error', text(key, { max: I32_MAX }));
  }
  say('join-error', '');
  remember('username', username);
  remember('token', token, 'sessionStorage');
  // A reload of this tab comes back as the same person; another tab is asked.
  remember('me', JSON.stringify({ spaceId, userId, username, token }), 'sessionStorage');
  history.replaceState(null, '', addressOf(spaceId));
  document.body.dataset.view = 'chat';
  $('chat').hidden = false;
  openPeopleIfWide();
  session = new Session({ spaceId, userId, username, token: token || undefined }, leave);
  $('draft').focus();
}

function leave(why = '') {
  session?.end();
  session = null;
  remember('me', '', 'sessionStorage');
  history.replaceState(null, '', location.pathname);
  document.title = 'CPI Hub';
  document.body.dataset.view = 'join';
  $('chat').hidden = true;
  say('join-error', why);
  $('more').open ||= Boolean(why);
  $(why ? 'token' : 'username').focus();
  offerSpaces();
}

function say(id, words) {
  $(id).textContent = words;
  $(id).hidden = !words;
}

async function offerSpaces() {
  const found = await fetch(`v1/spaces?limit=${SPACES_SHOWN_MAX}`)
    .then((response) => (response.ok ? response.json() : null)).catch(() => null);
  const buttons = (found?.data ?? []).map(({ space_id, members }) => {
    const many = text('people_count', { count: members });
    const button = element('button', { type: 'button' }, text('space', { space: String(space_id) }),
      element('span', { class: 'hint' }, many));
    button.onclick = () => {
      $('space').value = space_id;
      $('join-form').requestSubmit();
    };
    return button;
  });
  $('spaces').replaceChildren(...buttons);
  $('spaces').hidden = buttons.length === 0;
}

// Without a secure context there is no clipboard: then the link is shown, ready to be copied.
async function copyLink() {
  const link = location.href;
  const copied = await (navigator.clipboard?.writeText(link) ?? Promise.reject())
    .then(() => true, () => false);
  if (!copied) {
    prompt(text('copy_by_hand'), link);
    return;
  }
  showCopied(true);
  setTimeout(() => showCopied(false), COPIED_MS);
}

function showCopied(done) {
  $('copy-button').toggleAttribute('data-done', done);
  $('copy-button').querySelector('.wide').textContent = text(done ? 'copied' : 'copy_link');
  $('copied').textContent = done ? text('copied') : '';
}

function lastStay() {
  try { return JSON.parse(recall('me', 'sessionStorage')) ?? {}; } catch { return {}; }
}

function start() {
  fill(document);
  const { space, user_id, username, token } = asked();
  const last = lastStay();
  const back = space && !username && String(last.spaceId) === space;
  const me = back ? last : { userId: user_id, username, token };
  $('space').value = space || '1';
  $('user-id').value = me.userId;
  $('username').value = me.username || recall('username');
  $('token').value = me.token || recall('token', 'sessionStorage');
  if (back || (space && username)) join();
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
on('copy-button', 'click', () => copyLink());
document.addEventListener('visibilitychange', () => session?.showTitle());
for (const type of ['online', 'offline']) addEventListener(type, () => session?.showState());
addEventListener('hashchange', () => location.reload());
start();
