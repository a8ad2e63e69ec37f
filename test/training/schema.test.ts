/** One schema of a training job for both languages. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { batchProblem, microBatchOf, Training, TrainingJob } from '../../contracts/training.js';
import { packageRoot, pythonProgram } from '../../processes/python.js';
import { jobSchemaText } from '../../training/schema.js';
import { python } from '../support/python.js';

it('python/training-job.schema.json is current (`npm run build` writes it), and part of the package', () => {
  expect(readFileSync(pythonProgram('training-job.schema.json'), 'utf8')).toBe(jobSchemaText());
  const { files } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8'));
  expect(files).toContain('python/training-job.schema.json');
});

const { from: _, ...training } = Training.parse({});
const valid = {
  ...training,
  version: 2,
  baseModel: '/models/tiny',
  key: '0'.repeat(64),
  baseModelSha256: '0'.repeat(64),
  data: 'train.jsonl',
  dataSha256: '0'.repeat(64),
  lora: null,
  microBatchSize: 16,
  checkpoint: { everySteps: null, everyMinutes: 10, keep: 2 },
  seed: 0,
  deterministic: true,
  device: 'cpu',
  threads: null,
  processes: 1,
} satisfies TrainingJob;
const { epochs: _epochs, ...incomplete } = valid;

describe('a spec.json', () => {
  const folder = mkdtempSync(join(tmpdir(), 'srlm-test-spec-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** What Python says to each of these texts, in one process; null: nothing. */
  function read(...texts: string[]): (string | null)[] {
    texts.forEach((text, i) => {
      execFileSync('mkdir', ['-p', join(folder, String(i))]);
      writeFileSync(join(folder, String(i), 'spec.json'), text);
    });
    const script = `
import json, sys
sys.path.insert(0, sys.argv[1])
import jobfolder
said = []
for n in range(int(sys.argv[3])):
    try:
        jobfolder.read_spec(f"{sys.argv[2]}/{n}", 1)
        said.append(None)
    except jobfolder.JobError as problem:
        assert problem.args[0] == "bad-spec"
        said.append(problem.args[1])
print(json.dumps(said))`;
    const args = ['-c', script, dirname(pythonProgram('jobfolder.py')), folder, String(texts.length)];
    return JSON.parse(execFileSync(python, args, { encoding: 'utf8' }));
  }

  const wrong: [string, object | string, string][] = [
    ['a bound', { ...valid, warmupRatio: 1 }, 'warmupRatio: 1 is greater than or equal to the maximum of 1.'],
    ['a type', { ...valid, batchSize: '16' }, "batchSize: '16' is not of type 'integer'."],
    [
      'a name',
      { ...valid, precision: 'fp8' },
      "precision: 'fp8' is not one of ['auto', 'bf16', 'fp32', 'bf16-autocast'].",
    ],
    ['a version', { ...valid, version: 1 }, 'version: 2 was expected.'],
    [
      'a part',
      { ...valid, checkpoint: { ...valid.checkpoint, keep: 0 } },
      'checkpoint.keep: 0 is less than the minimum of 1.',
    ],
    ['a field that is missing', incomplete, "'epochs' is a required property."],
    ['a field too many', { ...valid, epoch: 3 }, "Additional properties are not allowed ('epoch' was unexpected)."],
    [
      'a batch that does not divide',
      { ...valid, microBatchSize: 5 },
      'batchSize: 16 is not a multiple of microBatchSize 5 x 1 processes.',
    ],
    ['half a file', '{"version":', 'is missing or not JSON.'],
  ];

  it('is accepted by Python as it is by TypeScript', () => {
    expect(TrainingJob.parse(valid)).toEqual(valid);
    const lora = { ...valid, method: 'lora', lora: { r: 4, alpha: 8, dropout: 0, targetModules: ['q_proj'] } };
    expect(read(JSON.stringify(valid), JSON.stringify(lora))).toEqual([null, null]);
  });

  it('with a wrong field is refused by Python, with the field and the reason', () => {
    const said = read(...wrong.map(([, spec]) => (typeof spec === 'string' ? spec : JSON.stringify(spec))));
    const pairs = wrong.map(
      ([what, , sentence], i) => [what, said[i]?.replace(/^spec\.json:? /, ''), sentence] as const,
    );
    for (const [what, found, sentence] of pairs) expect([what, found]).toEqual([what, sentence]);
    expect(said[0]).toBe('spec.json warmupRatio: 1 is greater than or equal to the maximum of 1.');
  });
});

describe('training settings', () => {
  it('share a batch among all processes where no micro-batch is set', () => {
    const spec = Training.parse({ batchSize: 16 });
    expect([microBatchOf(spec, 1), microBatchOf(spec, 2)]).toEqual([16, 8]);
    expect([batchProblem(spec, 1), batchProblem(spec, 2)]).toEqual([null, null]);
    expect(batchProblem(spec, 3)).toBe('batchSize 16 is not a multiple of microBatchSize 5 x 3 processes');
  });

  it('refuse a warm-up that never ends', () => {
    expect(Training.safeParse({ warmupRatio: 1 }).error?.issues[0]?.path).toEqual(['warmupRatio']);
  });
});
