/**
 * The dependencies of this version, as package-lock.json and python/requirements.txt have them, with their licences.
 * Reads files of this repository only. Throws when the Python lock has an entry that it cannot read.
 */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
const read = (path) => readFileSync(join(root, path), 'utf8');

/** Packages whose package.json names no licence, with the licence of the LICENSE file that they contain. */
export const LICENCE_FILE_ONLY = { unionfs: 'Unlicense' };

/** `dev`: installed only by who works on srlm. Platforms' binaries of one package are entries of their own. */
export function npmPackages() {
  const { packages } = JSON.parse(read('package-lock.json'));
  const needed = placesOfNeeded(packages);
  const found = Object.entries(packages)
    .filter(([path]) => path !== '')
    .map(([path, { name, version, license }]) => {
      const called = name ?? path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
      return { name: called, version, licence: license ?? LICENCE_FILE_ONLY[called], dev: !needed.has(path) };
    });
  // One version may lie in several folders.
  return [...new Map(found.map((entry) => [`${entry.name}@${entry.version}`, entry])).values()].sort(byName);
}

/**
 * The places of all packages that srlm needs. npm's own mark `dev` is of no use: the Temporal SDK is a peer dependency
 * of users and a development dependency here.
 */
function placesOfNeeded(packages) {
  const places = new Set();
  const add = (from) => {
    const { dependencies, optionalDependencies, peerDependencies, peerDependenciesMeta } = packages[from];
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies })) {
      const place = placeOf(packages, name, from);
      // A platform's binary or an optional peer that is not in the lock, or one that was seen.
      if (!place || places.has(place) || (peerDependenciesMeta?.[name]?.optional && !dependencies?.[name])) continue;
      places.add(place);
      add(place);
    }
  };
  add('');
  return places;
}

/** Where Node finds the package `name` from the package at `from`: beside it, or beside one that contains it. */
function placeOf(packages, name, from) {
  for (let folder = from; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('node_modules/') - 1))) {
    const place = `${folder ? `${folder}/` : ''}node_modules/${name}`;
    if (packages[place]) return place;
    if (folder === '') return undefined;
  }
}

/**
 * `marker`: where it is installed; everywhere if there is none. `neededBy`: names of the packages that need it;
 * `direct`: requirements.in names it. uv writes both as comments.
 */
export function pythonPackages() {
  const licences = JSON.parse(read('scripts/python-licences.json'));
  return read('python/requirements.txt')
    .split(/^(?=[^\s#])/m)
    .filter((entry) => !entry.startsWith('#'))
    .map((entry) => {
      const head = /^([a-z0-9._-]+)==([^\s;\\]+)(?: ; ([^\\\n]+?))?(?: \\)?\n/.exec(entry);
      if (!head) throw new Error(`python/requirements.txt: this entry cannot be read: ${entry.slice(0, 80)}`);
      const needs = entry.slice(entry.indexOf('# via') + '# via'.length).match(/-r \S+|[a-z0-9._-]+/g) ?? [];
      const [, name, version, marker] = head;
      const direct = needs.some((need) => need.startsWith('-r '));
      const neededBy = needs.filter((need) => !need.startsWith('-r '));
      return { name, version, marker, licence: licences[name], direct, neededBy };
    })
    .sort(byName);
}

export function byName(a, b) {
  if (a.name !== b.name) return a.name < b.name ? -1 : 1;
  return a.version < b.version ? -1 : a.version > b.version ? 1 : 0;
}
