/**
 * Histories of runs as they were recorded with each release (scripts/record-histories.mjs), replayed against today's workflow code: a
 * run that was under way when the code changed must still be able to go on.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../../engine/python-environment.js';
import { releases, releasesFolder } from '../support/releases.js';

interface Recorded {
  workflowId: string;
  history: { events: Event[] };
}
interface Event {
  eventType: string;
  workflowExecutionStartedEventAttributes?: { workflowType: { name: string } };
  activityTaskScheduledEventAttributes?: { activityType: { name: string } };
}

const folder = releasesFolder;
const read = (file: string): Recorded => JSON.parse(readFileSync(join(folder, file), 'utf8'));
const filesOf = (release: string) => readdirSync(join(folder, release)).filter((name) => name.endsWith('.json'));
const files = releases.flatMap((release) => filesOf(release).map((name) => join(release, name)));

/** Why today's code cannot follow this history; null: it can. */
async function replay({ workflowId, history }: Recorded): Promise<Error | null> {
  const bundle = { codePath: join(packageRoot, 'dist/workflow-bundle.js') };
  for await (const { error } of Worker.runReplayHistories({ workflowBundle: bundle }, [{ workflowId, history }])) {
    return error ?? null;
  }
  return new Error('nothing was replayed');
}

describe('recorded histories', () => {
  beforeAll(() => {
    Runtime.install({ logger: new DefaultLogger('ERROR', () => {}) });
  });

  it.each(releases)(
    '%s: are of every workflow, with its rounds, a parked, an aborted and a repaired run',
    (release) => {
      // A later release has these and more.
      expect(filesOf(release)).toEqual(
        expect.arrayContaining(
          [
            'round-0',
            'round-1',
            'round-aborted',
            'round-parked',
            'run',
            'run-aborted',
            'run-parked',
            'run-repaired',
            'sample',
          ].map((name) => `${name}.json`),
        ),
      );
      const types = filesOf(release).map(
        (file) =>
          read(join(release, file)).history.events[0]?.workflowExecutionStartedEventAttributes?.workflowType.name,
      );
      expect(new Set(types)).toEqual(new Set(['srlmRun', 'srlmRound', 'srlmSample']));
    },
  );

  it.each(files)('%s is followed by today’s code', async (file) => {
    expect(await replay(read(file))).toBeNull();
  });

  it('are not followed when a step is another one: replaying can fail', async () => {
    const recorded = read(join(releases.at(-1)!, 'round-1.json'));
    const scheduled = recorded.history.events.find(
      ({ activityTaskScheduledEventAttributes: activity }) => activity?.activityType.name === 'srlmSelect',
    );
    scheduled!.activityTaskScheduledEventAttributes!.activityType.name = 'srlmGrade';
    expect((await replay(recorded))?.message).toContain('Nondeterminism');
  });

  it.each(files)('%s names no machine, user or folder', (file) => {
    const text = readFileSync(join(folder, file), 'utf8');
    const payloads = [...text.matchAll(/"data":"([A-Za-z0-9+/=]*)"/g)].map(([, data]) =>
      Buffer.from(data!, 'base64').toString(),
    );
    for (const part of [text, ...payloads]) {
      expect(part).not.toMatch(/"\/(?!srlm)[a-z]+\/|\/(?:tmp|root|work|Users|home\/(?!recorder))\//);
      expect(part).not.toMatch(/\d@(?!recorder)/);
    }
  });
});
