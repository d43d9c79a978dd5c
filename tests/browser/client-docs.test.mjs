// The examples of docs/CLIENTS.md and of the package's readme, run as they stand against the hub.
// What a block prints must be the block of text behind it, in which … stands for anything.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';
import { RealHub } from './real-hub.mjs';
import { until } from './support.mjs';

const run = promisify(execFile);
const root = (name) => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const PAGES = ['docs/CLIENTS.md', 'sdk/js/README.md'];
const ADDRESS = 'http://127.0.0.1:8080';
const { CHROMIUM = '/usr/bin/chromium' } = process.env;
const LIMIT = { timeout: 60_000 };

/** {page, line, language, words, text, printed} of each fenced block but those of text. */
const EXAMPLES = PAGES.flatMap((page) => {
  const markdown = readFileSync(root(page), 'utf8');
  const blocks = [...markdown.matchAll(/^```(\w+)(.*)\n([\s\S]*?)^```$/gm)];
  return blocks.flatMap(({ 1: language, 2: words, 3: text, index }, i) => {
    if (language === 'text') return [];
    const next = blocks[i + 1];
    const printed = next?.[1] === 'text' ? next[3] : null;
    const line = markdown.slice(0, index).split('\n').length;
    return [{ page, line, language, words: words.split(' '), text, printed }];
  });
});

// A hub for each way, ended with the file rather than with a test.
const ends = [];
const whole = { after: (end) => ends.push(end) };
let folder;
let [open, asking, site] = [];

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'cpi-hub-docs-'));
  site = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => { site.once('listening', resolve); });
  const origins = `http://localhost:${site.address().port}`;
  open = await RealHub.start(whole, { settings: { origins, search: true } });
  asking = await RealHub.start(whole, { auth: true });
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder],
    { cwd: root('sdk/js') });
  writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }');
  const [{ filename }] = JSON.parse(stdout);
  await run('npm', ['install', '--offline', '--no-audit', '--no-fund', filename,
    root('tests/browser/node_modules/ws')], { cwd: folder });
});
after(async () => {
  for (const end of ends) await end();
  site.close();
  rmSync(folder, { recursive: true });
});

async function output(command, args, { hub, ...options }) {
  const { PATH, HOME } = process.env;
  const env = { PATH, HOME, GOPROXY: 'off', HUB_KEY: hub.key, HUB_JWT_SECRET: hub.secret };
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value));
  const { stdout } = await run(command, args, { ...LIMIT, ...options, env: given });
  return stdout;
}

/** How a block of each language is run: what it prints, or null where it shows that otherwise. */
const WAYS = {
  html: async (t, { text, hub }) => {
    site.removeAllListeners('request');
    site.on('request', (request, response) => {
      response.setHeader('Content-Type', 'text/html').end(text);
    });
    const browser = await chromium.launch({
      executablePath: CHROMIUM, args: ['--headless', '--no-sandbox', '--disable-gpu'],
    });
    t.after(() => browser.close());
    const page = await browser.newPage();
    const complaints = [];
    page.on('pageerror', (error) => complaints.push(String(error)));
    await page.goto(`http://localhost:${site.address().port}/`);
    await until('it is connected', async () => (await page.title()).endsWith(': open'));
    const [, space] = text.match(/spaceId: (\d+)|spaces\/(\d+)/)?.filter(Boolean) ?? [];
    // People say something by its form; a page without one shows what others say.
    if (await page.locator('form').count()) {
      await page.locator('input').fill('hola');
      await page.getByRole('button').click();
      const left = async () => (await page.locator('input').inputValue()) === '';
      await until('the message has left', left);
    } else {
      await hub.ask(`/v1/ws/spaces/${space}/chat`, {
        method: 'POST',
        body: JSON.stringify({ message: 'hola', user_id: 7, username: 'Ana Paz' }),
      });
    }
    await page.locator('li', { hasText: 'Ana Paz: hola' }).waitFor();
    const { data } = await hub.ask(`/v1/spaces/${space}/messages`);
    assert.deepEqual(data.map(({ content }) => content), ['hola']);
    assert.deepEqual(complaints, []);
    return null;
  },
  js: async (t, { text, hub, name }) => {
    const file = join(folder, `${name}.mjs`);
    writeFileSync(file, text);
    return output(process.execPath, [file], { hub, cwd: folder });
  },
  go: async (t, { text, hub, name }) => {
    const program = join(folder, name);
    mkdirSync(program);
    writeFileSync(join(program, 'main.go'), text);
    writeFileSync(join(program, 'go.mod'), 'module program\n\ngo 1.19\n');
    await output('go', ['mod', 'edit', '-require=cpi-hub/sdk/go@v0.0.0',
      `-replace=cpi-hub/sdk/go=${root('sdk/go')}`], { hub, cwd: program });
    return output('go', ['run', '.'], { hub, cwd: program });
  },
  sh: async (t, { text, hub }) => output('bash', ['-euo', 'pipefail', '-c', text], { hub }),
};

const MISSING = {
  html: () => (existsSync(CHROMIUM) ? false : 'there is no Chromium'),
  go: () => run('go', ['version']).then(() => false, () => 'there is no Go'),
};

/** Whether a text is what was announced, line by line; … stands for anything. */
function fits(text, announced) {
  const escape = (part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${announced.split('…').map(escape).join('.*')}$`).test(text);
}

for (const { page, line, language, words, text, printed } of EXAMPLES) {
  const title = `${page}, line ${line}: the example in ${language} runs`;
  test(title, async (t) => {
    const missing = await MISSING[language]?.();
    if (missing) return t.skip(missing);
    const hub = words.includes('auth') ? asking : open;
    assert.ok(text.includes(ADDRESS), 'it names the hub');
    const placed = text.replaceAll(ADDRESS, hub.url);
    const name = `${language}-${line}`;
    const shown = await WAYS[language](t, { text: placed, hub, name });
    if (shown === null) return undefined;
    assert.ok(fits(shown.trim(), printed.trim()), `it printed:\n${shown}`);
    return undefined;
  });
}

test('the documents have an example of each kind, and text that differs is found', () => {
  const languages = new Set(EXAMPLES.map(({ language }) => language));
  assert.deepEqual([...languages].sort(), ['go', 'html', 'js', 'sh']);
  assert.ok(EXAMPLES.filter(({ printed }) => printed).length > 6);
  assert.ok(fits('01K durable', '… durable') && !fits('01K accepted', '… durable'));
  assert.ok(!fits('a\nb', 'a') && !fits('[1]', '1'));
});
