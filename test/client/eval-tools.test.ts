/** How evaluation tools are called, what their results say, and what is filed of them. A shell script plays the tool. */
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { beginEval, copyEvals, fileEval, readEvals, renderEvals } from '../../audit/evals.js';
import { bestModel } from '../../client/cli/ask.js';
import { takenArgument, toolKind } from '../../client/eval-tools.js';
import { runTool } from '../../client/run-eval-tool.js';
import { commandLine } from '../../processes/detached.js';

const request = { tasks: ['a.yaml', 'b'], limit: 5, includePath: null, completions: false, args: ['--seed', '1'] };
const served = {
  baseUrl: 'http://127.0.0.1:1/v1',
  apiKey: 'the-key-of-the-server',
  model: `srlm-${'a'.repeat(64)}`,
  folder: '/models/a, b=c',
  context: 2048,
};
const never = new AbortController().signal;

/** As lm-eval 0.4.13 and Inspect 0.3.285 write them. */
const LM_EVAL = {
  results: {
    likely: { name: 'likely', alias: 'likely', sample_len: 3, 'acc,none': 0.25, 'acc_stderr,none': 0.1 },
    generate: { alias: 'generate', 'exact_match,last': 0.5, 'exact_match_stderr,last': 'N/A' },
  },
  'n-samples': { likely: { original: 9, effective: 3 } },
};
const INSPECT = {
  status: 'success',
  eval: { task: 'sums' },
  results: {
    completed_samples: 2,
    scores: [{ name: 'match', metrics: { accuracy: { value: 0.5 }, stderr: { value: 0.1 }, worst: { value: null } } }],
  },
};

describe('a tool', () => {
  it('is given the address of the server, the name of the model and its tokenizer, and the key in no argument', () => {
    const lm = toolKind('lm-eval').call(request, served, '/results');
    const settings = JSON.parse(lm.args[lm.args.indexOf('--model_args') + 1]!);
    expect(settings).toMatchObject({
      ...{
        model: served.model,
        base_url: 'http://127.0.0.1:1/v1/completions',
        tokenizer: served.folder,
        max_length: 2048,
      },
    });
    expect(lm.args.join(' ')).toContain('--tasks a.yaml,b --output_path /results --log_samples --limit 5 --seed 1');
    const inspect = toolKind('inspect').call(request, served, '/results');
    expect(inspect.args.join(' ')).toContain(
      `eval a.yaml b --model openai-api/srlm/${served.model} --log-dir /results`,
    );
    expect(inspect.env).toMatchObject({ SRLM_BASE_URL: served.baseUrl });
    const raw = toolKind('inspect').call({ ...request, completions: true }, served, '/results');
    expect(raw.args.join(' ')).toContain(`--model vllm-completions/${served.model}`);
    for (const { args } of [lm, inspect, raw]) expect(args.join(' ')).not.toContain(served.apiKey);
  });

  it.each<['lm-eval' | 'inspect', string[], string | null]>([
    ['lm-eval', ['--use_cache', 'x'], '--use_cache'],
    ['lm-eval', ['--use_c=x'], '--use_c=x'],
    ['lm-eval', ['-c', 'x'], '-c'],
    ['lm-eval', ['--cache_requests', 'true'], '--cache_requests'],
    ['lm-eval', ['--apply_chat_template', '--num_fewshot', '3', '--max_batch_size', '1'], null],
    ['inspect', ['--log-dir=x'], '--log-dir=x'],
    ['inspect', ['-T', 'seed=1', '-M', 'x=1'], null],
  ])('of %s may not be given %j', (tool, args, taken) => {
    expect(takenArgument(tool, args)).toBe(taken);
  });

  it('has scores with their metric, filter, standard error and rows', () => {
    expect(toolKind('lm-eval').scores(LM_EVAL)).toEqual([
      { task: 'likely', metric: 'acc', value: 0.25, stderr: 0.1, samples: 3 },
      { task: 'generate', metric: 'exact_match (last)', value: 0.5, stderr: null, samples: null },
    ]);
    expect(toolKind('inspect').scores(INSPECT)).toEqual([
      { task: 'sums', metric: 'match accuracy', value: 0.5, stderr: 0.1, samples: 2 },
    ]);
    const failed = { ...INSPECT, status: 'error', error: { message: 'no dataset' }, results: null };
    expect(() => toolKind('inspect').scores(failed)).toThrow('sums: no dataset');
  });
});

describe('the model of a run', () => {
  const model = (letter: string) => ({ kind: 'model', sha256: letter.repeat(64) });
  const runOf = (status: object, result: unknown = null) =>
    ({ status: async () => status, result: async () => result }) as unknown as Parameters<typeof bestModel>[0];
  const rounds = [0, 1, 2].map((round) => ({ round, model: model('abc'[round]!) }));
  const done = runOf({ state: 'done', rounds, best: 1, stale: false }, { model: model('b') });

  it('is that of the round that is named, else the best', async () => {
    expect(await bestModel(done, 'r', 2)).toEqual(model('c'));
    expect(await bestModel(done, 'r')).toEqual(model('b'));
  });

  it('of a round that has not finished is refused with those that have', async () => {
    await expect(bestModel(done, 'r', 3)).rejects.toThrow('has no finished round 3; it has finished rounds 0, 1, 2.');
    const none = runOf({ state: 'running', rounds: [], best: null, stale: false });
    await expect(bestModel(none, 'r', 0)).rejects.toThrow('has no finished round 0; it has finished none.');
    const away = runOf({ state: 'running', rounds: [], best: null, stale: true });
    await expect(bestModel(away, 'r', 0)).rejects.toThrow('cannot be read, because no worker answers.');
  });
});

describe('with files', () => {
  let folder = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'srlm-eval-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  async function run(script: string, stopped = never) {
    const [python, results, log] = ['python', 'results', 'log.txt'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    await mkdir(results, { recursive: true });
    await writeFile(python, `#!/bin/sh\n${script}\n`);
    await chmod(python, 0o755);
    return runTool({ python, tool: 'lm-eval', request, served, results, log }, stopped);
  }
  const writes = (value: unknown) =>
    `mkdir -p '${folder}/results/m' && echo '${JSON.stringify(value)}' > '${folder}/results/m/results_1.json'`;

  it('a tool that ends well has the scores that it wrote, and its output in a log', async () => {
    const scores = await run(`echo working; [ "$OPENAI_API_KEY" = ${served.apiKey} ] && ${writes(LM_EVAL)}`);
    expect(scores).toHaveLength(2);
    expect(await readFile(join(folder, 'log.txt'), 'utf8')).toBe('working\n');
  });

  it.each<[string, () => string, string]>([
    [
      'its last words where it fails',
      () => 'echo one >&2; echo "ValueError: no such task." >&2; exit 1',
      'ValueError: no such task.',
    ],
    ['its exit code where it says nothing', () => 'exit 7', 'it ended with 7.'],
    ['that it wrote nothing', () => 'true', 'it has written no scores.'],
    ['that its result is of another form', () => writes({ results: 1 }), 'its result has another form.'],
  ])('a tool without a result is reported with %s', async (_, script, reason) => {
    await expect(run(script())).rejects.toMatchObject({
      type: 'eval.failed',
      reason: `lm-eval ended without a result: ${reason}`,
    });
  });

  it('a tool that is stopped is ended with everything that it started', async () => {
    const stop = new AbortController();
    const mark = join(folder, 'pid');
    const running = run(`sleep 600 & echo $! > '${mark}.tmp'; mv '${mark}.tmp' '${mark}'; wait`, stop.signal);
    while (!existsSync(mark)) await new Promise((resolve) => setTimeout(resolve, 10));
    stop.abort(new Error('stopped by the user'));
    await expect(running).rejects.toThrow('stopped by the user');
    const pid = Number(await readFile(mark, 'utf8'));
    expect(await commandLine(pid)).not.toContain('sleep');
  });

  it('a result is filed with its run, copied with an export, and not taken from a folder that was cut short', async () => {
    const exported = join(folder, 'run');
    const { folder: place, results } = await beginEval(exported, new Date(0), 'lm-eval');
    await writeFile(join(results, 'results_1.json'), '{}');
    await beginEval(exported, new Date(1), 'inspect');
    const record = {
      ...{
        run: 'mine',
        round: 2,
        model: 'a'.repeat(64),
        tool: 'lm-eval',
        version: '0.4.13',
        tasks: ['sums'],
        limit: 5,
      },
      ...{ args: ['--num_fewshot', '3'], startedAt: '2026-11-28T10:00:00.000Z', endedAt: '2026-11-28T10:01:00.000Z' },
      ...{ by: 'me@here', scores: [{ task: 'sums', metric: 'acc', value: 0.25, stderr: 0.1, samples: 3 }] },
    };
    const filed = await fileEval(place, record);
    expect(filed.files).toEqual([{ path: 'results_1.json', sha256: expect.stringMatching(/^44136fa355b3/) }]);
    expect(await readEvals(exported)).toEqual([filed]);
    await copyEvals(exported, join(folder, 'copy'));
    await copyEvals(join(folder, 'none'), join(folder, 'copy'));
    expect(await readEvals(join(folder, 'copy'))).toEqual([filed]);
    expect(renderEvals([filed])).toEqual([
      '2026-11-28T10:00:00.000Z  round 2 · lm-eval 0.4.13 --limit 5 --num_fewshot 3 · 1 min · by me@here',
      '  sums  acc 0.2500 ± 0.1000 (3 rows)',
    ]);
  });
});
