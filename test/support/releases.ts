/**
 * What each release left in test/histories/VERSION (scripts/record-histories.mjs): recorded histories, and its bundle of
 * workflow code.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { packageRoot } from '../../engine/python-environment.js';

export const releasesFolder = join(packageRoot, 'test/histories');

/** Oldest first. */
export const releases = readdirSync(releasesFolder).sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));

/** The newest release whose workflow code is not what is built here: at the commit of a release, the one before. */
export function lastRelease(): { release: string; bundle: string } {
  const code = (bundle: string) => bundle.slice(0, bundle.lastIndexOf('//# sourceMappingURL='));
  const today = code(readFileSync(join(packageRoot, 'dist/workflow-bundle.js'), 'utf8'));
  const all = releases.map((release) => ({ release, bundle: bundleOf(release) }));
  const last = all.findLast(({ bundle }) => code(bundle) !== today) ?? all.at(-1);
  if (!last) throw new Error('no release is recorded: npm run build && node scripts/record-histories.mjs');
  return last;
}

function bundleOf(release: string): string {
  return gunzipSync(readFileSync(join(releasesFolder, release, 'workflow-bundle.js.gz'))).toString();
}

/** The input that a client of `release` gave a run of this kind: today's, without what was added since. */
export function inputOf(release: string, today: unknown): unknown {
  const { history } = JSON.parse(readFileSync(join(releasesFolder, release, 'run.json'), 'utf8'));
  const [payload] = history.events[0].workflowExecutionStartedEventAttributes.input.payloads;
  return onlyWhat(JSON.parse(Buffer.from(payload.data, 'base64').toString()), today);
}

function onlyWhat(then: unknown, now: unknown): unknown {
  if (!isRecord(then) || !isRecord(now)) return now;
  return Object.fromEntries(
    Object.entries(now).flatMap(([name, value]) => (name in then ? [[name, onlyWhat(then[name], value)]] : [])),
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
