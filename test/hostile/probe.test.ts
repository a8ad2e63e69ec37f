/** Model folders that would hang a server or a trainer, or fill its memory: each is refused in time, with a sentence. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Deps } from '../../activities/activity.js';
import { srlmPrepareModel } from '../../activities/prepare.js';
import { resolveDeployment } from '../../config/load.js';
import { RunSpec, splitRunSpec } from '../../contracts/spec.js';
import { probeModel, probeModelIfPossible } from '../../processes/probe-model.js';
import { pythonProgram } from '../../processes/python.js';
import { openStore } from '../../storage/store.js';
import { problemOf } from '../storage/support.js';
import { python, tinyModel } from '../support/python.js';

const folder = mkdtempSync(join(tmpdir(), 'srlm-test-probe-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const merged = (file: string, more: object) => (model: string) =>
  writeFileSync(join(model, file), JSON.stringify({ ...JSON.parse(readFileSync(join(model, file), 'utf8')), ...more }));
const config = (more: object) => merged('config.json', more);
const tokenizer = (more: object) => merged('tokenizer.json', more);
const template = (text: string) => (model: string) => writeFileSync(join(model, 'chat_template.jinja'), text);
const hugeHeader = (model: string) => {
  const header = Buffer.from(
    JSON.stringify({ 'model.layers.0.x': { dtype: 'F32', shape: [9e9], data_offsets: [0, 36e9] } }),
  );
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  writeFileSync(join(model, 'model.safetensors'), Buffer.concat([length, header, Buffer.alloc(64)]));
};
const elsewhere = (model: string) => {
  cpSync(join(model, 'model.safetensors'), join(model, 'model-1.safetensors'));
  rmSync(join(model, 'model.safetensors'));
  const index = { metadata: {}, weight_map: { 'model.norm.weight': '../private.safetensors' } };
  writeFileSync(join(model, 'model.safetensors.index.json'), JSON.stringify(index));
};
const doubling = {
  type: 'Replace',
  pattern: { Regex: '.' },
  content: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx',
};

const SIGXCPU = constants.signals.SIGXCPU;
const NESTED = `{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}`;

/** What the folder holds, and what is said of it. */
const CASES: [string, (model: string) => void, string | RegExp][] = [
  ['nested loops in a chat template', template(NESTED), 'rendering its chat template does not end.'],
  [
    'a chat template that multiplies a text',
    template(`{{ 'a' * 9000000000 }}`),
    'rendering its chat template takes too much memory, or crashes.',
  ],
  [
    'a chat template that adds a text of moderate length',
    template(`{{ 'a' * 200000 }}`),
    'its chat template makes 200000 characters of a question of 14.',
  ],
  [
    'a chat template that reaches for the interpreter',
    template(`{{ ''.__class__.__mro__[1].__subclasses__() }}`),
    /^rendering its chat template fails: SecurityError: /,
  ],
  [
    'a normalizer that multiplies text',
    tokenizer({ normalizer: { type: 'Sequence', normalizers: Array(6).fill(doubling) } }),
    /^encoding a text with its tokenizer (does not end|takes too much memory, or crashes)\.$/,
  ],
  [
    'a regular expression that backtracks for ever',
    tokenizer({
      pre_tokenizer: { type: 'Split', pattern: { Regex: '(a|a|aa)+$' }, behavior: 'Isolated', invert: false },
    }),
    /^encoding a text with its tokenizer (does not end|takes too much memory, or crashes)\.$/,
  ],
  [
    'two thousand million layers',
    config({ num_hidden_layers: 2e9 }),
    'config.json: num_hidden_layers is 2000000000, and the weights have 2 layers.',
  ],
  [
    'a layer more than there are weights for',
    config({ num_hidden_layers: 3 }),
    'config.json: num_hidden_layers is 3, and the weights have 2 layers.',
  ],
  ['no width', config({ hidden_size: 0 }), 'config.json: hidden_size is 0, not a number of at least 1.'],
  [
    'a negative number of layers',
    config({ num_hidden_layers: -1 }),
    'config.json: num_hidden_layers is -1, not a number of at least 1.',
  ],
  [
    'a vocabulary of four thousand million words',
    config({ vocab_size: 4e9 }),
    'config.json: vocab_size is 4000000000, which is more than the 117248 numbers of the weights allow.',
  ],
  [
    'a wide layer inside',
    config({ intermediate_size: 17600 }),
    'config.json: intermediate_size is 17600, which is more than the 117248 numbers of the weights allow.',
  ],
  [
    'very many heads',
    config({ num_attention_heads: 1e9, num_key_value_heads: 1e9 }),
    /^reading config\.json fails: .* is not a multiple of the number of attention heads \(1000000000\)\.$/,
  ],
  ['a config that is not of a model', config({ model_type: 'evil' }), /^reading config\.json fails: ValueError: /],
  [
    'code of its own',
    config({ model_type: 'evil', auto_map: { AutoConfig: 'evil.Config' } }),
    /^reading config\.json fails: ValueError: .*execute/,
  ],
  [
    'weights that were cut off',
    (model) => truncateSync(join(model, 'model.safetensors'), 4000),
    /^model\.safetensors is damaged: /,
  ],
  ['a header that lies about the file', hugeHeader, /^model\.safetensors is damaged: /],
  [
    'weights that are elsewhere',
    elsewhere,
    "model.safetensors.index.json names '../private.safetensors', which is not a file of weights in the folder.",
  ],
  [
    'a tokenizer that is not one',
    (model) => writeFileSync(join(model, 'tokenizer.json'), '{}'),
    /^loading its tokenizer fails: /,
  ],
];

/**
 * One process imports what is needed, which takes longer than the rest, and a child of it tries out each folder, with 3 s
 * of computing: the last part that the child printed, what it said at its end, and the signal that ended it.
 */
const BATCH = `
import json, os, sys
sys.path.insert(0, sys.argv[1])
import probe
probe.CPU_SECONDS = 3
for path in sys.argv[2:]:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(write, 1)
        sys.argv[1:] = [path]
        try:
            probe.main()
        except BaseException:  # a panic of a library; as a program it would end here, too
            os._exit(1)
        os._exit(0)
    os.close(write)
    lines = [json.loads(line) for line in os.fdopen(read) if line.startswith("{")]
    _, status = os.waitpid(child, 0)
    print(json.dumps({"doing": [line["doing"] for line in lines if "doing" in line][-1], "ok": lines[-1].get("ok", False),
                      "problem": lines[-1].get("problem"),
                      "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None}), flush=True)
`;
interface Tried {
  doing: string;
  ok: boolean;
  problem: string | null;
  signal: number | null;
}

const modelWith = (name: string, change: (model: string) => void): string => {
  const model = join(folder, name.replaceAll(' ', '-'));
  cpSync(join(tinyModel(), 'tiny'), model, { recursive: true });
  change(model);
  return model;
};

describe('a model folder with', () => {
  let tried: Tried[];
  beforeAll(() => {
    const models = CASES.map(([name, change]) => modelWith(name, change));
    const args = ['-c', BATCH, dirname(pythonProgram('probe.py')), ...models];
    const ended = spawnSync(python, args, { encoding: 'utf8', maxBuffer: 2 ** 24 });
    tried = ended.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
  }, 300_000);

  it.each(CASES.map(([name, , sentence], i) => [name, sentence, i] as const))('%s is refused', (_name, sentence, i) => {
    const { doing, ok, problem, signal } = tried[i]!;
    const ended = `${doing} ${signal === SIGXCPU ? 'does not end' : 'takes too much memory, or crashes'}.`;
    const said = problem?.replace(/\s+/g, ' ') ?? (ok ? 'ok' : ended);
    if (typeof sentence === 'string') expect(said).toBe(sentence);
    else expect(said).toMatch(sentence);
  });
});

it.each([
  ['a template that never ends', template(NESTED), 'rendering its chat template does not end.'],
  [
    'more layers than weights',
    config({ num_hidden_layers: 3 }),
    'config.json: num_hidden_layers is 3, and the weights have 2 layers.',
  ],
])(
  '%s is reported as of the model, with what to do',
  async (name, change, reason) => {
    const model = modelWith(name, change);
    // The program, with less time for what does not end.
    const short = join(folder, 'short');
    const program = `import sys; sys.path.insert(0, "${dirname(pythonProgram('probe.py'))}"); import probe; probe.CPU_SECONDS = 2; probe.main()`;
    writeFileSync(short, `#!/bin/sh\nexec '${python}' -c '${program}' "$2"\n`, { mode: 0o755 });
    const problem = await problemOf(probeModel(short, model));
    expect({ type: problem.type, retry: problem.retry, reason: problem.reason }).toEqual({
      type: 'model.unusable',
      retry: false,
      reason,
    });
    expect(problem.message).toContain('Use another model, or an unchanged copy of this one. [model.unusable]');
  },
  120_000,
);

it('a model that is whole is tried out once for each state of its files', async () => {
  const model = join(folder, 'whole');
  cpSync(join(tinyModel(), 'tiny'), model, { recursive: true });
  await probeModel(python, model);
  // Another probe would need an interpreter.
  await probeModel('/no/such/python', model);
  config({ num_hidden_layers: 3 })(model);
  expect((await problemOf(probeModel('/no/such/python', model))).type).toBe('python.missing');
  expect((await problemOf(probeModel(python, model))).type).toBe('model.unusable');
}, 120_000);

it('a run that was started elsewhere has its model tried out by the worker', async () => {
  const models = join(folder, 'models');
  cpSync(join(tinyModel(), 'tiny'), join(models, 'deep'), { recursive: true });
  cpSync(join(tinyModel(), 'tiny'), join(models, 'good'), { recursive: true });
  config({ num_hidden_layers: 2e9 })(join(models, 'deep'));
  const deployment = resolveDeployment({ artifactRoot: 'store', modelRoots: ['models'], python }, folder);
  const store = openStore(deployment);
  const prepare = async (model: string) => {
    const spec = RunSpec.parse({ model: { path: model }, data: { path: 'd' }, catalysts: 'none' });
    const texts = await store.objects.putJson(splitRunSpec(spec).texts);
    return new MockActivityEnvironment().run(srlmPrepareModel({ store, deployment } as Deps), { texts });
  };
  await expect(prepare('deep')).rejects.toMatchObject({
    type: 'model.unusable',
    nonRetryable: true,
    message: `${models}/deep: config.json: num_hidden_layers is 2000000000, and the weights have 2 layers. Use another model, or an unchanged copy of this one. [model.unusable]`,
  });
  expect(await prepare('good')).toMatchObject({ path: 'good' });
}, 120_000);

it('a client without the Python environment leaves it to the worker', async () => {
  await probeModelIfPossible('/no/such/python', join(tinyModel(), 'tiny'));
});
