/**
 * Histories of runs as they were recorded with each release (scripts/record-histories.mjs), replayed against today's
 * workflow code: a run that was in progress when the code changed must be able to continue.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { beforeAll, describe, expect, it } from 'vitest';
import { MAX_PAYLOAD_BYTES } from '../../contracts/refs.js';
import { packageRoot } from '../../processes/python.js';
import { releases, releasesFolder } from '../support/releases.js';

interface Recorded {
  workflowId: string;
  history: { events: Event[] };
}
interface Event {
  eventType: string;
  workflowExecutionStartedEventAttributes?: { workflowType: { name: string } };
  workflowTaskScheduledEventAttributes?: object;
  activityTaskScheduledEventAttributes?: { activityType: { name: string } };
}

const RUNS = ['aborted', 'budget', 'cancelled', 'forked', 'operated', 'parked', 'repaired', 'sample', 'whole'];
/** A run of one round has one execution; round 1 is another one. */
const CHAINS = ['whole', 'repaired', 'operated', 'forked', 'budget'];

const read = (file: string): Recorded => JSON.parse(readFileSync(join(releasesFolder, file), 'utf8'));
const filesOf = (release: string) =>
  readdirSync(join(releasesFolder, release)).filter((name) => name.endsWith('.json'));
const files = releases.flatMap((release) => filesOf(release).map((name) => join(release, name)));

/** Why today's code cannot follow this history; null: it can. */
async function replay({ workflowId, history }: Recorded): Promise<Error | null> {
  // The replay of a history without a workflow task would never end.
  if (!history.events.some((event) => event.workflowTaskScheduledEventAttributes)) return null;
  const bundle = { codePath: join(packageRoot, 'dist/workflow-bundle.js') };
  for await (const { error } of Worker.runReplayHistories({ workflowBundle: bundle }, [{ workflowId, history }])) {
    return error ?? null;
  }
  return new Error('nothing was replayed');
}

function payloadsOf(value: unknown): string[] {
  if (value === null || typeof value !== 'object') return [];
  const { data, metadata } = value as { data?: unknown; metadata?: { encoding?: unknown } };
  if (typeof data === 'string' && metadata?.encoding) return [Buffer.from(data, 'base64').toString()];
  return Object.values(value).flatMap(payloadsOf);
}

describe('recorded histories', () => {
  beforeAll(() => {
    Runtime.install({ logger: new DefaultLogger('ERROR', () => {}) });
  });

  it('exist', () => {
    expect(releases).not.toEqual([]);
  });

  it.each(releases)('%s: are of both workflows, and of every execution of every kind of run', (release) => {
    const names = filesOf(release);
    const expected = [...RUNS.map((run) => `${run}-1.json`), ...CHAINS.map((run) => `${run}-2.json`)];
    // A later release has these and more.
    expect(names).toEqual(expect.arrayContaining(expected));
    const started = names.map((name) => read(join(release, name)).history.events[0]);
    const types = started.map((event) => event?.workflowExecutionStartedEventAttributes?.workflowType.name);
    expect(new Set(types)).toEqual(new Set(['srlmRun', 'srlmSample']));
  });

  it.each(files)('%s can be continued by today’s code', async (file) => {
    expect(await replay(read(file))).toBeNull();
  });

  it.each(releases)('%s: cannot be continued when a step is another one: replaying can fail', async (release) => {
    const recorded = read(join(release, 'whole-2.json'));
    const scheduled = recorded.history.events.find(
      ({ activityTaskScheduledEventAttributes: activity }) => activity?.activityType.name === 'srlmSelect',
    );
    scheduled!.activityTaskScheduledEventAttributes!.activityType.name = 'srlmGrade';
    expect((await replay(recorded))?.message).toContain('Nondeterminism');
  });

  it.each(files)('%s names no machine, user or folder, and no payload is above 4 KB', (file) => {
    const text = readFileSync(join(releasesFolder, file), 'utf8');
    const payloads = payloadsOf(JSON.parse(text));
    const names = /"\/(?!srlm)[a-z]+\/|\/(?:tmp|root|work|Users|home\/(?!recorder))\/|\d@(?!recorder)/;
    expect([text, ...payloads].flatMap((part) => names.exec(part)?.[0] ?? [])).toEqual([]);
    expect(payloads.map((payload) => Buffer.byteLength(payload)).filter((size) => size > MAX_PAYLOAD_BYTES)).toEqual(
      [],
    );
  });
});
