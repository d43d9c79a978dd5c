// The page: the join form, the address, and what the buttons do.
import { addressOf, copy } from './copying.js';
import { element } from './element.js';
import { recall, remember } from './memory.js';
import { aboutSpace, calledSpace } from './naming.js';
import { openOptions, speakAsChosen } from './options.js';
import { openPeopleIfWide } from './people.js';
import { Session } from './session.js';
import { fill, say, text } from './texts.js';
import { fitViewport } from './viewport.js';

const I32_MAX = 2 ** 31 - 1;
const SPACES_SHOWN_MAX = 6;
const COPIED_MS = 2_500;

const $ = (id) => document.getElementById(id);
let session = null;
let spaceNow = null;

// What an address asks for, in its query or after its `#`.
function asked({ hash, search } = location) {
  const given = Object.fromEntries([
    ...new URLSearchParams(search), ...new URLSearchParams(hash.replace(/^#\??/, '')),
  ]);
  return { space: '', user_id: '', username: '', token: '', image: '', message: '', ...given };
}

function ownUserId() {
  const random = crypto.getRandomValues(new Uint32Array(1))[0] % 2e9 + 1e8;
  const id = recall('user_id') || String(random);
  remember('user_id', id);
  return id;
}

function join(message = '') {
  const username = $('username').value.trim();
  const spaceId = Number($('space').value);
  const userId = Number($('user-id').value || ownUserId());
  const [token, image] = [$('token').value, $('image').value.trim()];
  if (!username) return refuse(() => text('name_missing'));
  for (const [id, key] of [[spaceId, 'space_invalid'], [userId, 'user_id_invalid']]) {
    if (Number.isInteger(id) && id >= -I32_MAX - 1 && id <= I32_MAX) continue;
    return refuse(() => text(key, { max: I32_MAX }));
  }
  if (image && !isPicture(image)) return refuse(() => text('image_invalid'));
  refuse(null);
  remember('username', username);
  remember('image', image);
  remember('token', token, 'sessionStorage');
  // A reload of this tab comes back as the same person; another tab is asked.
  const me = { spaceId, userId, username, token, image };
  remember('me', JSON.stringify(me), 'sessionStorage');
  history.replaceState(null, '', addressOf(spaceId));
  document.body.dataset.view = 'chat';
  $('chat').hidden = false;
  openPeopleIfWide();
  spaceNow = spaceId;
  session = new Session({ ...me, token: token || undefined, image: image || undefined },
    { message, leave });
  $('draft').focus();
}

const isPicture = (image) => URL.canParse(image) && new URL(image).protocol === 'https:';

function leave(why = null) {
  session?.end();
  session = null;
  spaceNow = null;
  remember('me', '', 'sessionStorage');
  history.replaceState(null, '', location.pathname);
  document.title = 'CPI Hub';
  document.body.dataset.view = 'join';
  $('chat').hidden = true;
  refuse(why);
  $('more').open ||= Boolean(why);
  $(why ? 'token' : 'username').focus();
  offerSpaces();
}

function refuse(words) {
  say($('join-error'), words ?? (() => ''));
  $('join-error').hidden = !words;
}

async function offerSpaces() {
  const found = await fetch(`v1/spaces?limit=${SPACES_SHOWN_MAX}`)
    .then((response) => (response.ok ? response.json() : null)).catch(() => null);
  const buttons = (found?.data ?? []).map(({ space_id, members }) => {
    const name = say(element('span'), () => calledSpace(space_id));
    aboutSpace(space_id).then((about) => say(name, () => calledSpace(space_id, about.name)));
    const many = say(element('span', { class: 'hint' }), () => (
      text('people_count', { count: members })));
    const button = element('button', { type: 'button' }, name, many);
    button.onclick = () => {
      $('space').value = space_id;
      $('join-form').requestSubmit();
    };
    return button;
  });
  $('spaces').replaceChildren(...buttons);
  $('spaces').hidden = buttons.length === 0;
}

async function copyLink() {
  if (!await copy(addressOf(spaceNow), 'copied', 'copy_by_hand')) return;
  showCopied(true);
  setTimeout(() => showCopied(false), COPIED_MS);
}

function showCopied(done) {
  $('copy-button').toggleAttribute('data-done', done);
}

function lastStay() {
  try { return JSON.parse(recall('me', 'sessionStorage')) ?? {}; } catch { return {}; }
}

function start() {
  fill(document);
  speakAsChosen();
  const { space, user_id, username, token, image, message } = asked();
  const last = lastStay();
  const back = space && !username && String(last.spaceId) === space;
  const me = back ? last : { userId: user_id, username, token, image };
  $('space').value = space || '1';
  $('user-id').value = me.userId;
  $('username').value = me.username || recall('username');
  $('token').value = me.token || recall('token', 'sessionStorage');
  $('image').value = me.image || recall('image');
  if (back || (space && username)) join(message);
  else offerSpaces();
}

// Another address in the same tab: of a message in this space, or another space.
function moved() {
  const { space, message } = asked();
  if (!session || Number(space) !== spaceNow) return location.reload();
  history.replaceState(null, '', addressOf(spaceNow));
  if (message) session.goTo(message);
}

// A link to a message of this very space needs no page of its own.
function followed(event) {
  const link = event.target.closest('#messages .text a');
  if (!session || !link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const isHere = link.origin === location.origin && link.pathname === location.pathname;
  const { space, message } = asked(link);
  if (!isHere || !message || Number(space) !== spaceNow) return;
  event.preventDefault();
  session.goTo(message);
}

// Who begins to type means the draft, wherever the focus is but in another field.
function typed({ key, target, ctrlKey, altKey, metaKey, isComposing }) {
  if (!session || ctrlKey || altKey || metaKey || isComposing) return;
  if ([...key].length !== 1 || key === ' ') return;
  if (target.closest('input,textarea,select,dialog:modal')) return;
  $('draft').focus();
}

const on = (id, type, run) => $(id).addEventListener(type, run);
on('join-form', 'submit', (event) => {
  event.preventDefault();
  join(asked().message);
});
on('composer', 'submit', (event) => {
  event.preventDefault();
  session?.submit();
});
on('draft', 'input', () => session?.drafted());
on('draft', 'keydown', (event) => {
  if (event.shiftKey || event.isComposing) return;
  const isUp = event.key === 'ArrowUp' && !$('draft').value;
  if (event.key !== 'Enter' && !isUp) return;
  event.preventDefault();
  if (isUp) session?.toMessages();
  else session?.submit();
});
on('retry-button', 'click', () => session?.retry());
for (const id of ['leave-button', 'options-leave']) {
  on(id, 'click', () => {
    $('options').close();
    leave();
  });
}
for (const id of ['copy-button', 'options-copy']) on(id, 'click', copyLink);
for (const id of ['options-button', 'join-options']) on(id, 'click', openOptions);
document.addEventListener('keydown', typed);
document.addEventListener('click', followed);
addEventListener('hashchange', moved);
fitViewport();
start();
