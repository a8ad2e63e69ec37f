import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Files of minutes, the longest first: begun last, one of them would leave the other core without work. */
const LONG = [
  'chaos.test',
  'kill.test',
  'damage.test',
  'audit/history.test',
  'cli/operate.test',
  'course.test',
  'versions.test',
];
const rank = ({ moduleId }: TestSpecification) => LONG.findIndex((name) => moduleId.includes(name)) >>> 0;

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

const WORKFLOWS = 'test/workflows/*.test.ts';
/** They change nothing of their process: a new one for each file takes longer than the tests of most. */
const SHARING = [
  ...['method', 'contracts', 'text', 'activities'].map((folder) => `test/${folder}/*.test.ts`),
  'test/client/!(operate).test.ts',
  'test/audit/!(history).test.ts',
  'test/storage/!(model|models|model-folder).test.ts',
  'test/engines/{refusals,outcomes,client,http}.test.ts',
];

export default defineConfig({
  test: {
    globalSetup: ['test/support/temporal-server.ts'],
    sequence: { sequencer: LongestFirst },
    // On two cores: files that start engines wait a third of their time.
    maxWorkers: 3,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    projects: [
      { extends: true, test: { name: 'all others', include: ['test/**/*.test.ts'], exclude: [WORKFLOWS, ...SHARING] } },
      { extends: true, test: { name: 'sharing a process', include: SHARING, isolate: false } },
      {
        extends: true,
        test: {
          name: 'workflows',
          include: [WORKFLOWS],
          // They change nothing of their process, and a new one for each file takes as long as the tests of it.
          isolate: false,
          // Scenarios are waiting most of the time.
          maxConcurrency: 50,
        },
      },
    ],
  },
});
