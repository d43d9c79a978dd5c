// The package of client.js as its users have it: packed, installed into an empty project, typed,
// bundled, and at work against the hub in each runtime that is here.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import nodeResolve from '@rollup/plugin-node-resolve';
import { build as esbuild } from 'esbuild';
import { rollup } from 'rollup';
import ts from 'typescript';
import { build as vite } from 'vite';
import webpack from 'webpack';
import { Proxy } from './proxy.mjs';
import { RealHub } from './real-hub.mjs';
import { runtimes } from './runtimes.mjs';

const run = promisify(execFile);
const root = (name) => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const WHOLE_RUN = { timeout: 60_000 };
const NODES = runtimes.filter(({ name, command }) => command && name.startsWith('node'));

/** What a user's program does: it talks, is cut, goes on, and reads what there is. */
const PROGRAM = `import { HubClient } from 'cpi-hub-client';
const [url, space] = process.argv.slice(-2);
const WebSocket = globalThis.WebSocket ?? globalThis.OldWebSocket;
const hub = new HubClient({ url, spaceId: space, userId: 7, username: 'Ana', WebSocket });
const heard = [];
hub.addEventListener('chat', ({ detail }) => heard.push(detail.content));
hub.connect();
const sends = [];
for (let i = 0; i < 4; i++) sends.push(hub.send(String(i), { ack: 'durable' }));
await Promise.all(sends.splice(0));
const lost = new Promise((resolve) => {
  hub.addEventListener('state', ({ detail }) => detail.state === 'waiting' && resolve());
});
console.log('CUT ME');
await lost;
for (let i = 4; i < 8; i++) sends.push(hub.send(String(i), { ack: 'durable' }));
await Promise.all(sends);
const stored = [];
for await (const { content } of hub.messages({ pageSize: 3 })) stored.push(content);
const { members } = await hub.presence();
hub.close();
console.log('DONE', JSON.stringify({ heard, stored, members }));
`;
const WITH_WS = `import { WebSocket } from 'ws';
globalThis.OldWebSocket = WebSocket;
await import('./program.mjs');
`;
const SAID = ['0', '1', '2', '3', '4', '5', '6', '7'];

let project;
let packed;
const at = (name) => join(project, name);

before(async () => {
  project = mkdtempSync(join(tmpdir(), 'cpi-hub-package-'));
  const pack = ['pack', '--json', '--pack-destination', project];
  const { stdout } = await run('npm', pack, { cwd: root('sdk/js') });
  [packed] = JSON.parse(stdout);
  writeFileSync(at('package.json'), '{ "private": true }');
  await run('npm', ['install', '--offline', '--no-audit', '--no-fund', packed.filename,
    root('tests/browser/node_modules/ws')], { cwd: project });
  writeFileSync(at('program.mjs'), PROGRAM);
  writeFileSync(at('with-ws.mjs'), WITH_WS);
}, WHOLE_RUN);
after(() => rmSync(project, { recursive: true }));

test('the package holds what the hub serves, its types, a readme and the licence', () => {
  const served = ['client.js', 'client.d.ts',
    ...readdirSync(root('src/console/client')).map((name) => `client/${name}`)];
  const others = ['LICENSE', 'README.md', 'package.json'];
  assert.deepEqual(packed.files.map(({ path }) => path).sort(), [...served, ...others].sort());
  const installed = at('node_modules/cpi-hub-client/');
  for (const name of served) {
    assert.equal(readFileSync(installed + name, 'utf8'),
      readFileSync(root(`src/console/${name}`), 'utf8'), name);
  }
  const manifest = JSON.parse(readFileSync(`${installed}package.json`, 'utf8'));
  const [, version] = readFileSync(root('Cargo.toml'), 'utf8').match(/^version = "(.*)"/m);
  assert.equal(manifest.version, version, 'the hub and its client have one version');
  assert.deepEqual([manifest.dependencies, manifest.license], [undefined, 'MIT']);
  // Packing leaves nothing behind that could grow old.
  assert.ok(!readdirSync(root('sdk/js')).includes('client.js'));
});

const parsed = new Map();

/** What `tsc --strict` says of programs in the project: the first word of each, by file. */
function complaints(files, options) {
  const all = {
    strict: true, noEmit: true, skipDefaultLibCheck: true, types: [],
    target: ts.ScriptTarget.ES2022,
    exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, ...options,
  };
  // Thousands of lines of libraries are parsed once for all ways to resolve a module.
  const host = ts.createCompilerHost(all);
  const parse = host.getSourceFile.bind(host);
  host.getSourceFile = (file, { impliedNodeFormat, ...more }, ...rest) => {
    const key = `${file} ${impliedNodeFormat}`;
    if (!parsed.has(key)) parsed.set(key, parse(file, { ...more, impliedNodeFormat }, ...rest));
    return parsed.get(key);
  };
  const program = ts.createProgram(files, all, host);
  return ts.getPreEmitDiagnostics(program).map(({ file, messageText }) => (
    `${file?.fileName.split('/').at(-1)}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`));
}

const TYPED = `import { HubClient, HubError } from 'cpi-hub-client';
import type { HubMessage, HubPresence } from 'cpi-hub-client';
const hub = new HubClient({
  url: 'https://hub.example', spaceId: 1, userId: 7, token: 'a.b.c', people: true,
  getToken: async () => (await fetch('/token')).text(),
});
hub.addEventListener('chat', ({ detail }) => console.log(detail.username, detail.history), {
  once: true, signal: AbortSignal.timeout(1000),
});
hub.addEventListener('gap', (event) => event.preventDefault());
hub.addEventListener('mine', (event) => console.log(event.type));
const heard = (event: CustomEvent<HubMessage>) => console.log(event.detail.content);
hub.addEventListener('chat', heard);
hub.removeEventListener('chat', heard);
export async function use(): Promise<string[]> {
  const { id, level }: { id: string, level: 'accepted' | 'durable' } = await hub.send('hola');
  const all: string[] = [id, level];
  for await (const { content } of hub.messages({ after: id, newestFirst: true })) {
    all.push(content);
  }
  for await (const message of HubClient.messages(1, { url: new URL('https://hub.example') })) {
    all.push(message.content);
  }
  const here: HubPresence = await HubClient.presence(1, { token: 't' });
  try { await hub.history({ limit: 3 }); } catch (error) {
    if (error instanceof HubError) all.push(error.code, String(error.retryAfterMs));
  }
  return all.concat(here.users.map(({ username }) => username));
}
`;
const { ModuleKind: Module, ModuleResolutionKind: Resolution } = ts;
const DOM = { lib: ['lib.es2022.d.ts', 'lib.dom.d.ts'] };

test('it is typed for strict consumers of every module resolution, with and without a DOM', () => {
  const ways = {
    bundler: { ...DOM, module: Module.ESNext, moduleResolution: Resolution.Bundler },
    nodenext: { ...DOM, module: Module.NodeNext, moduleResolution: Resolution.NodeNext },
    node10: { ...DOM, module: Module.ESNext, moduleResolution: Resolution.Node10 },
    'no DOM': {
      lib: ['lib.es2022.d.ts'], types: ['node'], module: Module.NodeNext,
      moduleResolution: Resolution.NodeNext, typeRoots: [root('tests/browser/node_modules/@types')],
    },
  };
  writeFileSync(at('package.json'), '{ "private": true, "type": "module" }');
  writeFileSync(at('right.ts'), TYPED);
  writeFileSync(at('wrong.ts'), TYPED.replace('detail.username', 'detail.usernames'));
  for (const [name, options] of Object.entries(ways)) {
    const found = complaints([at('right.ts'), at('wrong.ts')], options);
    assert.equal(found.length, 1, `${name}: ${found.join('\n')}`);
    assert.match(found[0], /^wrong\.ts: .*usernames/, name);
  }
});

/** Runs the program in the project; cut off where it asks for that. */
async function works(t, command, args) {
  const hub = await RealHub.start(t);
  const proxy = await Proxy.start(t, hub.port);
  const space = '5';
  const running = run(command, [...args, proxy.url, space], { cwd: project, ...WHOLE_RUN });
  running.child.stdout.on('data', (text) => {
    if (String(text).includes('CUT ME')) proxy.cut();
  });
  const { stdout, stderr } = await running;
  const [, done] = stdout.match(/DONE (.*)/) ?? assert.fail(`${stdout}\n${stderr}`);
  assert.deepEqual(JSON.parse(done), { heard: SAID, stored: SAID, members: 1 });
}

for (const { name, command, args = [], hasSocket } of runtimes) {
  const skip = command ? false : 'there is none for this machine';
  test(`it works in ${name}, through a cut`, { skip }, (t) => (
    works(t, command, [...args, hasSocket ? 'program.mjs' : 'with-ws.mjs'])));
}

const BUNDLERS = {
  esbuild: (input, outfile) => esbuild({
    entryPoints: [input], outfile, bundle: true, format: 'esm', target: 'es2022', minify: true,
  }),
  rollup: async (input, file) => {
    const bundle = await rollup({ input, plugins: [nodeResolve()], onwarn: assert.fail });
    await bundle.write({ file, format: 'es' });
  },
  webpack: (entry, file) => new Promise((resolve, reject) => {
    const output = { path: project, filename: file.slice(project.length + 1), module: true };
    const options = {
      entry, output, mode: 'production', target: 'es2022', context: project,
      experiments: { outputModule: true },
    };
    webpack(options, (error, stats) => {
      if (error || stats.hasErrors() || stats.hasWarnings()) reject(error ?? stats.toString());
      else resolve();
    });
  }),
  vite: (input, file) => vite({
    root: project, logLevel: 'error', configFile: false,
    build: {
      target: 'es2022', outDir: '.', emptyOutDir: false,
      rollupOptions: { input, output: { entryFileNames: file.slice(project.length + 1) } },
    },
  }),
};

for (const [name, bundle] of Object.entries(BUNDLERS)) {
  test(`a bundle by ${name} works, through a cut`, async (t) => {
    const file = at(`${name}-bundle.mjs`);
    await bundle(at('program.mjs'), file);
    assert.ok(!/from\s*['"]cpi-hub-client/.test(readFileSync(file, 'utf8')), 'it is whole');
    // Nothing but the bundle is there when it runs.
    const { command } = runtimes.find((runtime) => runtime.command && runtime.hasSocket);
    await works(t, command, [file]);
  });
}

test('a program of CommonJS may require it, and one that names no hub is told so', async () => {
  writeFileSync(at('use.cjs'), `const { HubClient } = require('cpi-hub-client');
try { new HubClient({ spaceId: 1, userId: 7 }); } catch ({ message }) { console.log(message); }`);
  for (const { command } of NODES) {
    const { stdout } = await run(command, ['use.cjs'], { cwd: project });
    assert.match(stdout, /say where the hub is/);
  }
});
