// Puts the files that the hub serves into this folder, so that `npm pack` and `npm publish` find
// them; `--clean` takes them away again. There is no second copy of them in the repository.
import { cpSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const FILES = {
  'client.js': '../../src/console/client.js',
  'client.d.ts': '../../src/console/client.d.ts',
  client: '../../src/console/client',
  LICENSE: '../../LICENSE',
};

for (const [name, source] of Object.entries(FILES)) {
  rmSync(here(name), { recursive: true, force: true });
  if (!process.argv.includes('--clean')) cpSync(here(source), here(name), { recursive: true });
}
