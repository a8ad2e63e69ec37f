/** A step's key holds the version of every file of method/ that decides its result, and of the files that those use. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { DECIDERS } from '../method/corpus.js';

const SOURCE = readFileSync(new URL('../../activities/keys.ts', import.meta.url), 'utf8');

/** Name in keys.ts -> file of method/. */
const FILES = new Map(
  [...SOURCE.matchAll(/import \{[^}]*VERSION as (\w+) \} from '\.\.\/(method\/[^']+)\.js'/g)].map(([, name, file]) => [
    name!,
    `${file}.ts`,
  ]),
);

/** The lists `versions: [...]`, by the function that they are in. */
const VERSIONS = [
  ...SOURCE.matchAll(
    /(?:const|function) (\w+)(?:(?!\n(?:export )?(?:const|function) )[\s\S])*?versions: \[([^\]]*)\]/g,
  ),
].map(([, name, list]) => [name!, list!.split(', ').flatMap((one) => FILES.get(one) ?? [])] as const);

const usesOf = (file: string): string[] =>
  Object.entries(DECIDERS)
    .filter(([name, decider]) => (decider.file ?? name) === file)
    .flatMap(([, { uses }]) => uses);

it('are read from keys.ts', () => {
  expect(VERSIONS.length).toBeGreaterThanOrEqual(8);
  expect(VERSIONS.flatMap(([, files]) => files).length).toBeGreaterThanOrEqual(15);
});

it.each(VERSIONS)('%s has the versions of what its files use', (_, files) => {
  const missing = files.flatMap((file) => usesOf(file).filter((used) => !files.includes(used)));
  expect(missing).toEqual([]);
});
