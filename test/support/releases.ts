/**
 * What each release left in test/histories/VERSION (scripts/record-histories.mjs): recorded histories, and its bundle of
 * workflow code. SRLM_HISTORIES_DIR names another folder than test/histories.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { packageRoot } from '../../processes/python.js';

export const releasesFolder = resolve(process.env.SRLM_HISTORIES_DIR ?? join(packageRoot, 'test/histories'));

/** Oldest first. */
export const releases = existsSync(releasesFolder)
  ? readdirSync(releasesFolder).sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
  : [];

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

/** The input that a client of `release` gave such a run: today's, without the fields that were added since. */
export function inputOf(release: string, today: unknown): unknown {
  const { history } = JSON.parse(readFileSync(join(releasesFolder, release, 'whole-1.json'), 'utf8'));
  const [payload] = history.events[0].workflowExecutionStartedEventAttributes.input.payloads;
  return onlyKnown(JSON.parse(Buffer.from(payload.data, 'base64').toString()), today);
}

function onlyKnown(then: unknown, now: unknown): unknown {
  if (!isRecord(then) || !isRecord(now)) return now;
  return Object.fromEntries(
    Object.entries(now).flatMap(([name, value]) => (name in then ? [[name, onlyKnown(then[name], value)]] : [])),
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
