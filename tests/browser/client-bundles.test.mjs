// client.js where it is no page's own module: bundled, typed, and in Node while a hub is away.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { runInNewContext } from 'node:vm';
import { build } from 'esbuild';
import ts from 'typescript';
import { WebSocket } from 'ws';
import { HubClient } from '../../src/console/client.js';
import { startHub } from './mock-hub.mjs';

const CLIENT = fileURLToPath(new URL('../../src/console/client.js', import.meta.url));
const README = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
const USE = `import { HubClient } from ${JSON.stringify(CLIENT)};
globalThis.hub = new HubClient({ url: 'https://hub.example', spaceId: 1, userId: 7 });`;

/** A folder that goes with the test. */
function scratch(t) {
  const folder = mkdtempSync(join(tmpdir(), 'cpi-hub-client-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

async function bundled(options) {
  const stdin = { contents: USE, resolveDir: '.', loader: 'js' };
  const { outputFiles } = await build({
    stdin, bundle: true, write: false, logLevel: 'silent', ...options,
  });
  return outputFiles[0].text;
}

test('a bundle of any form can be loaded, and works with an address', async (t) => {
  for (const options of [{}, { format: 'iife', minify: true }, { format: 'cjs' },
    { format: 'esm' }, { target: 'es2022' }, { platform: 'node' }]) {
    const text = await bundled(options);
    delete globalThis.hub;
    if (options.format === 'esm') {
      const file = join(scratch(t), 'bundle.mjs');
      writeFileSync(file, text);
      await import(pathToFileURL(file).href);
    } else {
      const context = { EventTarget, URL, TextEncoder, CustomEvent, performance };
      runInNewContext(text, context);
      globalThis.hub = context.hub;
    }
    assert.equal(globalThis.hub.state.reason, 'new');
  }
  delete globalThis.hub;
});

test('a bundle without an address says what is missing, when it is used', async () => {
  const text = (await bundled({ format: 'iife' })).replace('url: "https://hub.example", ', '');
  const context = { EventTarget, URL, TextEncoder, CustomEvent, performance };
  assert.throws(() => runInNewContext(text, context), /where the hub is/);
});

/** What `tsc --strict` says of a module that imports the client by this name. */
function complaints(folder, text, name) {
  const file = join(folder, 'use.ts');
  writeFileSync(file, text);
  const program = ts.createProgram([file], {
    strict: true, noEmit: true, skipLibCheck: false, types: [],
    target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ES2022,
    moduleResolution: ts.ModuleResolutionKind.Bundler, lib: ['lib.es2022.d.ts', 'lib.dom.d.ts'],
    paths: { [name]: [CLIENT.replace(/js$/, 'd.ts')] },
  });
  return ts.getPreEmitDiagnostics(program)
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'));
}

test('the README’s page is sound in TypeScript’s strict eyes, and a mistake is found', (t) => {
  const folder = scratch(t);
  const [, text] = README.match(/<script type="module">\n([\s\S]*?)<\/script>/);
  const [, name] = text.match(/from '(.*)'/);
  assert.deepEqual(complaints(folder, text, name), []);
  const wrong = text.replace('detail.content', 'detail.contents');
  assert.match(complaints(folder, wrong, name)[0], /contents/);
  const more = `${text}
    import type { HubUser } from '${name}';
    let users: HubUser[] | null = null;
    hub.addEventListener('people', ({ detail }) => { users = detail.users; });
    hub.addEventListener('gap', (event) => { event.preventDefault(); });
    const other = new HubClient({ spaceId: '1', userId: 7, WebSocket, fetch, people: true });
    const { messages } = await other.history({ limit: 10 });
    const size: boolean = other.measure(messages[0]?.content ?? '').fits;
    console.log(users, size);`;
  assert.deepEqual(complaints(folder, more, name), []);
});

test('the types name what the module has, no more and no less', async () => {
  const file = CLIENT.replace(/js$/, 'd.ts');
  const source = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.ES2022);
  const declared = [];
  const members = [];
  for (const node of source.statements) {
    if (ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node)) continue;
    if (ts.isVariableStatement(node)) {
      declared.push(...node.declarationList.declarations.map(({ name }) => name.text));
    } else declared.push(node.name.text);
    if (node.name?.text !== 'HubClient') continue;
    members.push(...node.members.map((member) => member.name?.text).filter(Boolean));
  }
  const module = await import('../../src/console/client.js');
  assert.deepEqual(declared.sort(), Object.keys(module).sort());
  const own = [...Object.getOwnPropertyNames(HubClient.prototype),
    ...Object.getOwnPropertyNames(HubClient)];
  const events = ['addEventListener', 'removeEventListener'];
  const builtIn = ['constructor', 'length', 'name', 'prototype'];
  const expected = new Set(own.filter((name) => !builtIn.includes(name)));
  const found = new Set(members.filter((name) => !events.includes(name)));
  assert.deepEqual([...found].sort(), [...expected].sort());
});

test('the types name each code of the hub’s and of the client’s own', () => {
  const file = CLIENT.replace(/js$/, 'd.ts');
  const source = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.ES2022);
  const named = Object.fromEntries(source.statements.filter(ts.isTypeAliasDeclaration)
    .map(({ name, type }) => [name.text, type.types?.map(({ literal }) => literal?.text).sort()]));
  const codes = readFileSync(new URL('../../docs/CODES.md', import.meta.url), 'utf8');
  const refusals = codes.split('\n## ')[1].matchAll(/^### (\w+)$/gm);
  assert.deepEqual(named.HubRefusal, [...refusals].map(([, code]) => code).sort());
  const folder = new URL('../../src/console/client/', import.meta.url);
  const files = [CLIENT, ...readdirSync(folder).map((name) => new URL(name, folder))];
  const text = files.map((each) => readFileSync(each, 'utf8')).join('\n');
  const made = /(?:HubError\(|giveUp\(\w+, |code: |UNKNOWN = \[)'(\w+)'/g;
  const own = new Set([...text.matchAll(made)].map(([, code]) => code));
  for (const code of named.HubRefusal) own.delete(code);
  assert.deepEqual(named.ClientRefusal, [...own].sort());
});

test('in Node, with a WebSocket passed in, a hub that comes back is found at once', async (t) => {
  const first = await startHub();
  const { port } = new URL(first.url);
  const hub = new HubClient({ url: first.url, spaceId: 1, userId: 7, username: 'Ana', WebSocket });
  t.after(() => hub.close());
  const became = (wanted) => new Promise((resolve) => {
    hub.addEventListener('state', function listen({ detail }) {
      if (detail.state !== wanted) return;
      hub.removeEventListener('state', listen);
      resolve(detail);
    });
  });
  const [opened, lost] = [became('open'), became('waiting')];
  hub.connect();
  await opened;
  first.close();
  await lost;
  let failed = 0;
  hub.addEventListener('state', ({ detail }) => { failed += detail.state === 'waiting'; });
  while (failed < 2) await became('waiting');
  const second = await startHub(Number(port));
  t.after(() => second.close());
  const again = became('open');
  hub.connect();
  await again;
  const { id } = await hub.send('back');
  assert.ok(id);
});

test('closing while a hub does not answer disturbs nobody', async (t) => {
  const silent = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => { silent.once('listening', resolve); });
  t.after(() => silent.close());
  const url = `http://127.0.0.1:${silent.address().port}`;
  const hub = new HubClient({ url, spaceId: 1, userId: 7, WebSocket });
  hub.connect();
  hub.close();
  await new Promise((resolve) => { silent.close(resolve); });
  assert.equal(hub.state.state, 'closed');
});
