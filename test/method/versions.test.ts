/**
 * The keys of stored results contain the VERSION of every file that decides them. These tests fail when such a file
 * gives other results than its version did, since old results would then be taken for new ones.
 *   SRLM_RECORD=1 npx vitest run test/method/versions.test.ts
 * records the present versions and results in fingerprints.json.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { DECIDERS } from './corpus.js';

const FILE = new URL('fingerprints.json', import.meta.url);
const RECORD = 'SRLM_RECORD=1 npx vitest run test/method/versions.test.ts';

interface Fingerprint {
  version: number;
  digest: string;
}
type Fingerprints = Record<string, Fingerprint>;

const recorded = (): Fingerprints => JSON.parse(readFileSync(FILE, 'utf8'));

async function present(): Promise<Fingerprints> {
  const found = Object.entries(DECIDERS).map(async ([file, { version, outputs }]) => {
    const digest = createHash('sha256')
      .update(JSON.stringify(await outputs()))
      .digest('hex');
    return [file, { version, digest }];
  });
  return Object.fromEntries(await Promise.all(found));
}

/** null: the file does what its version did. */
function problem(file: string, before: Fingerprints, now: Fingerprints): string | null {
  const [was, is] = [before[file], now[file]];
  if (!was || !is || was.version !== is.version) {
    const versions = `${is ? `version ${is.version}` : 'absent'}, and ${was ? `version ${was.version}` : 'nothing'}`;
    return `${file} is ${versions} is recorded: run ${RECORD} to record.`;
  }
  if (was.digest === is.digest) return null;
  const changed = DECIDERS[file]!.uses.filter((used) => before[used]?.version !== now[used]?.version);
  if (changed.length > 0) return `${file} uses ${changed.join(', ')}, of another version: run ${RECORD} to record.`;
  return `${file} gives other results than its version ${is.version} did: raise its VERSION and run ${RECORD} to record.`;
}

describe('the results of method/', () => {
  it('are those of the recorded versions', { timeout: 120_000 }, async () => {
    const now = await present();
    if (process.env.SRLM_RECORD === '1') writeFileSync(FILE, `${JSON.stringify(now, null, 2)}\n`);
    const before = recorded();
    const files = [...new Set([...Object.keys(before), ...Object.keys(now)])];
    expect(files.map((file) => problem(file, before, now)).filter((found) => found !== null)).toEqual([]);
  });
});

it('every file of method/ with a VERSION has its results in the corpus', () => {
  const method = new URL('../../method/', import.meta.url);
  const files = readdirSync(method, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  const versioned = files.filter((name) =>
    /^export const VERSION\b/m.test(readFileSync(new URL(name, method), 'utf8')),
  );
  const covered = Object.entries(DECIDERS).map(([name, { file }]) => file ?? name);
  expect(versioned.map((name) => `method/${name.replaceAll('\\', '/')}`).sort()).toEqual([...new Set(covered)].sort());
});

describe('a changed result', () => {
  const parse = 'method/parse.ts';
  const graders = 'method/graders/index.ts';
  const of = (version: number, digest: string) => ({ version, digest });

  it('needs another version', () => {
    expect(problem(parse, { [parse]: of(1, 'a') }, { [parse]: of(1, 'a') })).toBeNull();
    expect(problem(parse, { [parse]: of(1, 'a') }, { [parse]: of(1, 'b') })).toBe(
      `method/parse.ts gives other results than its version 1 did: raise its VERSION and run ${RECORD} to record.`,
    );
  });
  it('needs to be recorded, and so do a new file and one that is gone', () => {
    const found = (before: Fingerprints, now: Fingerprints) => problem(parse, before, now);
    expect(found({ [parse]: of(1, 'a') }, { [parse]: of(2, 'b') })).toBe(
      `method/parse.ts is version 2, and version 1 is recorded: run ${RECORD} to record.`,
    );
    expect(found({}, { [parse]: of(1, 'a') })).toContain('is version 1, and nothing is recorded');
    expect(found({ [parse]: of(1, 'a') }, {})).toContain('is absent, and version 1 is recorded');
  });
  it('that comes from a used file needs no version of its own: keys contain the version of the used file', () => {
    const before = { [parse]: of(1, 'a'), [graders]: of(1, 'a') };
    expect(problem(graders, before, { [parse]: of(2, 'b'), [graders]: of(1, 'b') })).toBe(
      `method/graders/index.ts uses method/parse.ts, of another version: run ${RECORD} to record.`,
    );
    expect(problem(graders, before, { [parse]: of(1, 'b'), [graders]: of(1, 'b') })).toContain('raise its VERSION');
  });
});
