// The page at /docs: reads openapi.json and asyncapi.json from the hub, and shows both. Text of
// the documents is never taken for HTML.

/** An element with children; strings become text. */
function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Words with `code` in them. */
function prose(text = '') {
  return text.split('`').map((part, n) => (n % 2 ? el('code', {}, part) : part));
}

function resolve(document_, value) {
  if (!value?.$ref) return value;
  const parts = value.$ref.slice(2).split('/').map((part) => part.replace(/~1/g, '/'));
  return resolve(document_, parts.reduce((at, part) => at[part], document_));
}

const shown = (value) => (typeof value === 'string' ? value : JSON.stringify(value, null, 1));
const pre = (value) => el('pre', { tabindex: '0' }, shown(value));

function table(headings, rows) {
  const head = el('tr', {}, headings.map((heading) => el('th', { scope: 'col' }, heading)));
  const body = rows.map((row) => el('tr', {}, row.map((cell) => el('td', {}, cell))));
  return el('div', { class: 'wide', tabindex: '0' }, el('table', {}, el('thead', {}, head),
    el('tbody', {}, body)));
}

/** What a schema asks for, in a few words. */
function kind(api, schema) {
  const known = resolve(api, schema) ?? {};
  const name = schema?.$ref?.split('/').pop();
  const one = known.const !== undefined ? JSON.stringify(known.const) : known.enum?.join(' | ');
  const range = [known.minimum, known.maximum].some((it) => it !== undefined)
    ? ` ${known.minimum ?? ''}..${known.maximum ?? ''}` : '';
  return [name, one ?? `${known.type ?? 'any'}${range}`].filter(Boolean).join(': ');
}

function response(api, status, given) {
  const known = resolve(api, given);
  const parts = [el('dt', {}, el('code', {}, status), ' ', ...prose(known.description))];
  const headers = Object.keys(known.headers ?? {});
  if (headers.length) {
    parts.push(el('dd', { class: 'soft' }, `Headers: ${headers.join(', ')}`));
  }
  for (const [type, content] of Object.entries(known.content ?? {})) {
    for (const example of Object.values(content.examples ?? {})) {
      const title = el('summary', {}, `${example.summary} (${type})`);
      const request = example['x-request'];
      const asked = request?.body === undefined ? null : pre(request.body);
      const path = request?.path ? el('p', {}, el('code', {}, request.path)) : null;
      parts.push(el('dd', {}, el('details', {}, title, path, asked, pre(example.value))));
    }
  }
  return parts;
}

function operation(api, path, method, known) {
  const id = `http-${known.operationId}`;
  const parameters = (known.parameters ?? []).map((given) => resolve(api, given));
  const rows = parameters.map((it) => [
    el('code', {}, it.name), it.in + (it.required ? ', required' : ''), kind(api, it.schema),
    el('span', {}, prose(it.description)),
  ]);
  const body = known.requestBody?.content['application/json'];
  const asks = known.security.length === 0 ? 'Nothing is to be shown.'
    : `A token or key is to be shown where the hub asks; a key with the scope ${known['x-scope']}.`;
  const heading = el('h3', { id }, el('code', {}, `${method.toUpperCase()} ${path}`), ' ',
    known.summary);
  return el('section', { 'data-entry': '' }, heading, el('p', {}, prose(known.description ?? '')),
    el('p', { class: 'soft' }, asks),
    rows.length ? table(['name', 'where', 'what', ''], rows) : null,
    body ? el('p', {}, `Body: ${kind(api, body.schema)}`) : null, body ? pre(body.example) : null,
    el('dl', {}, Object.entries(known.responses).flatMap(([status, it]) =>
      response(api, status, it))));
}

function message(api, name, known) {
  const whom = known['x-for'] ? ` (${known['x-for']} alone)` : '';
  const heading = el('h3', { id: `message-${name}` }, el('code', {}, known.name), whom);
  return el('section', { 'data-entry': '' }, heading, el('p', {}, prose(known.summary)),
    known.examples.map((example) => pre(example.headers ? asEvent(example) : example.payload)));
}

/** An event as it stands in a stream. */
function asEvent({ headers, payload }) {
  const fields = ['retry', 'id', 'event'].filter((field) => field in headers);
  const lines = fields.map((field) => `${field}: ${headers[field]}`);
  return [...lines, `data: ${JSON.stringify(payload)}`].join('\n');
}

function chapter(title, id, ...parts) {
  return [el('h2', { id }, title), ...parts];
}

function page(http, sockets) {
  const operations = Object.entries(http.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, known]) => operation(http, path, method, known)));
  const channels = Object.values(sockets.channels).map((it) =>
    [el('code', {}, it.address), el('span', {}, prose(it.summary))]);
  const messages = Object.entries(sockets.components.messages).map(([name, known]) =>
    message(sockets, name, known));
  const closes = sockets['x-closes'].map((it) =>
    [String(it.code), el('code', {}, it.reason), it.retry ? 'yes' : 'no', it.client]);
  const headers = Object.entries(http['x-request-headers']).map(([name, what]) =>
    [el('code', {}, name), el('span', {}, prose(what))]);
  const conditions = Object.entries(http['x-conditions']).map(([name, it]) =>
    [el('code', {}, name), it.effect, it.meaning, it.do]);
  const limits = Object.entries(http['x-limits']).map(([name, it]) =>
    [el('code', {}, name), it.default, it.help]);
  return [
    chapter('HTTP', 'http', operations),
    chapter('Sockets and streams', 'sockets', table(['address', 'what it is'], channels)),
    chapter('Messages', 'messages', messages),
    chapter('Closes', 'closes', table(['code', 'reason', 'comes back', 'the client'], closes)),
    chapter('Headers that the hub reads', 'headers', table(['header', 'what for'], headers)),
    chapter('Conditions', 'conditions',
      table(['condition', 'effect', 'what it means', 'what to do'], conditions)),
    chapter('Limits', 'limits', table(['setting', 'default', 'what it bounds'], limits)),
  ].flat(2);
}

function index(main) {
  const headings = [...main.querySelectorAll('h2, h3')];
  const links = headings.map((it) =>
    el('li', {}, el('a', { href: `#${it.id}` }, it.querySelector('code')?.textContent
      ?? it.textContent)));
  document.getElementById('index').replaceChildren(el('ul', {}, links));
}

function filter(main, words) {
  const wanted = words.trim().toLowerCase();
  for (const entry of main.querySelectorAll('[data-entry], tbody tr')) {
    entry.hidden = wanted !== '' && !entry.textContent.toLowerCase().includes(wanted);
  }
}

async function read(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

const main = document.getElementById('contract');
try {
  main.replaceChildren(...page(...await Promise.all([read('/openapi.json'),
    read('/asyncapi.json')])));
  index(main);
  document.getElementById('filter').addEventListener('input', ({ target }) =>
    filter(main, target.value));
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
} catch (error) {
  main.replaceChildren(el('p', { role: 'alert' }, `The contract can't be read: ${error.message}`));
}
main.removeAttribute('aria-busy');
