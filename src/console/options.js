// The options: how the page looks, which language it speaks, what it shows and tells unasked.
import { recall, remember } from './memory.js';
import { isOn, lack, turnOff, turnOn } from './notifier.js';
import { say, speak, text } from './texts.js';

const $ = (id) => document.getElementById(id);
const radios = (name) => [...document.querySelectorAll(`#options [name="${name}"]`)];

/** Shows the options as they are now. */
export function openOptions() {
  for (const name of ['theme', 'language']) {
    for (const radio of radios(name)) radio.checked = radio.value === recall(name);
  }
  $('pictures').checked = recall('pictures') === 'show';
  showNotify();
  $('options').showModal();
}

/** What was chosen before, from the start on. */
export const speakAsChosen = () => speak(recall('language'));

function showNotify() {
  const reason = lack();
  $('notify').checked = isOn();
  $('notify').disabled = Boolean(reason) && !$('notify').checked;
  say($('notify-hint'), () => text(reason || 'notify_hint'));
}

function choose(name, run) {
  for (const radio of radios(name)) {
    radio.addEventListener('change', () => {
      remember(name, radio.value);
      run(radio.value);
    });
  }
}

choose('theme', (theme) => {
  const chosen = new CustomEvent('themechosen', { detail: theme });
  document.documentElement.dispatchEvent(chosen);
});
choose('language', (language) => {
  speak(language);
  dispatchEvent(new Event('languagechosen'));
});
$('pictures').addEventListener('change', ({ target }) => {
  remember('pictures', target.checked ? 'show' : '');
});
$('notify').addEventListener('change', async ({ target }) => {
  if (target.checked) await turnOn();
  else turnOff();
  showNotify();
});
for (const id of ['options', 'people', 'search']) {
  // A click beside a dialog hits the dialog itself, of which nothing else is bare.
  $(id).addEventListener('click', ({ target }) => {
    if (target === $(id) && $(id).matches(':modal')) $(id).close();
  });
}
for (const id of ['options', 'search']) {
  $(`${id}-close`).addEventListener('click', () => $(id).close());
}
