// The hub itself, for tests: on a port and in a folder of its own, ended with the test. HUB_BINARY
// says which binary.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { until } from './support.mjs';

const BUILT = fileURLToPath(new URL('../../target/debug/cpi-hub', import.meta.url));
const BINARY = process.env.HUB_BINARY ?? BUILT;
/** Limits that are made for people, and what makes a restart short. */
const SETTINGS = {
  pinned: false, log: 'warn', message_rate: 'off', user_message_rate: 'off', drain_window: '300ms',
  close_wait: '500ms', sync_period: '5ms',
};

/** A port that nobody listens on. */
export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => { server.once('listening', resolve); });
  const { port } = server.address();
  await new Promise((resolve) => { server.close(resolve); });
  return port;
}

export class RealHub {
  #folder; #settings; #process = null; #isOver = false;

  /**
   * Starts one. With `auth` it asks who is who: `token` and `key` make what it takes.
   * @param {object} t the test, or what has `after`
   * @param {{auth?: boolean, settings?: object}} [options]
   */
  static async start(t, { auth = false, settings = {} } = {}) {
    assert.ok(existsSync(BINARY), `no hub at ${BINARY}: cargo build, or set HUB_BINARY`);
    const hub = new RealHub();
    hub.#folder = mkdtempSync(join(tmpdir(), 'cpi-hub-real-'));
    t.after(async () => {
      hub.#isOver = true;
      await hub.stop('SIGKILL');
      rmSync(hub.#folder, { recursive: true });
    });
    hub.port = await freePort();
    hub.url = `http://127.0.0.1:${hub.port}`;
    hub.#settings = { ...SETTINGS, listen: `127.0.0.1:${hub.port}`, ...settings };
    hub.#settings.data_dir = join(hub.#folder, 'data');
    if (auth) hub.#askWhoIsWho();
    await hub.begin();
    return hub;
  }

  async begin() {
    // A test that failed in the midst of a restart begins no other hub.
    if (this.#isOver) return;
    const env = Object.fromEntries(Object.entries(this.#settings).map(([name, value]) => (
      [`HUB_${name.toUpperCase()}`, String(value)])));
    const child = spawn(BINARY, ['serve'], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let log = '';
    for (const out of [child.stdout, child.stderr]) out.on('data', (text) => { log += text; });
    this.#process = child;
    await until('the hub is ready', async () => {
      assert.equal(child.exitCode, null, `the hub ended: ${log}`);
      return fetch(`${this.url}/readyz`).then(({ ok }) => ok, () => false);
    });
  }

  /** Its data directory. */
  get data() {
    return this.#settings.data_dir;
  }

  /** Ends it; resolves with its exit code. */
  async stop(signal = 'SIGTERM') {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return child?.exitCode;
    const ended = new Promise((resolve) => { child.once('exit', resolve); });
    child.kill(signal);
    return ended;
  }

  async restart(signal) {
    await this.stop(signal);
    await this.begin();
  }

  #askWhoIsWho() {
    this.secret = randomBytes(32).toString('hex');
    const made = execFileSync(BINARY,
      ['key', 'new', '--name', 'tests', '--scope', 'say,read,notify,kick,operate'], { env: {} });
    [this.key] = String(made).match(/hubkey_\S+/);
    const file = join(this.#folder, 'keys');
    writeFileSync(file, String(made).split('\n').filter((line) => !line.startsWith('hubkey_'))
      .join('\n'));
    this.#settings.jwt_secret = this.secret;
    this.#settings.api_keys_file = file;
  }

  /** A token of a user for some seconds. `padding` makes it longer. */
  token(userId, seconds = 3600, padding = 0) {
    const now = Math.floor(Date.now() / 1000);
    const claims = { user_id: userId, iat: now, exp: now + seconds, name: 'x'.repeat(padding) };
    const encode = (part) => Buffer.from(JSON.stringify(part)).toString('base64url');
    const text = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`;
    return `${text}.${createHmac('sha256', this.secret).update(text).digest('base64url')}`;
  }

  /** Asks it; resolves with the body. */
  async ask(path, init = {}) {
    const headers = this.key ? { Authorization: `Bearer ${this.key}` } : {};
    const response = await fetch(new URL(path, this.url), { headers, ...init });
    assert.ok(response.ok, `${path}: ${response.status}`);
    return response.json();
  }
}
