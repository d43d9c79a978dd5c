// Marks what a shared object needs of glibc 2.38 as dispensable, so that an older one loads it:
//
//   node weaken.js FILE
//
// The loader then looks for the symbols in what is preloaded; perf/peers/isoc23.c has those that
// uWebSockets.js needs. Changes a file of perf/.peers only.
import { readFileSync, writeFileSync } from 'node:fs';

const VERSION = 'GLIBC_2.38';
const VERNEED = 0x6ffffffe;
const WEAK = 2;

const path = process.argv[2];
const file = readFileSync(path);
const number = (at) => Number(file.readBigUInt64LE(at));
const [start, size, count] = [number(0x28), file.readUInt16LE(0x3a), file.readUInt16LE(0x3c)];
const sections = Array.from({ length: count }, (_, index) => start + index * size).map((at) => ({
  type: file.readUInt32LE(at + 4),
  offset: number(at + 24),
  link: file.readUInt32LE(at + 40),
}));
const needs = sections.find((section) => section.type === VERNEED);
const names = sections[needs.link].offset;
const nameAt = (at) => file.toString('latin1', names + at, file.indexOf(0, names + at));

let changed = 0;
for (let need = needs.offset, more = true; more; ) {
  let aux = need + file.readUInt32LE(need + 8);
  for (let left = file.readUInt16LE(need + 2); left > 0; left -= 1) {
    if (nameAt(file.readUInt32LE(aux + 8)) === VERSION) {
      file.writeUInt16LE(file.readUInt16LE(aux + 4) | WEAK, aux + 4);
      changed += 1;
    }
    aux += file.readUInt32LE(aux + 12);
  }
  const next = file.readUInt32LE(need + 12);
  more = next !== 0;
  need += next;
}
writeFileSync(path, file);
console.log(`${path}: ${changed} needs of ${VERSION}`);
