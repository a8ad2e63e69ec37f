/** Model folders that would hang a server or a trainer, or fill its memory: each is refused in time, with a sentence. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
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

/** The weights in one file that an index names, after a change of the index. */
const sharded = (change: (index: Record<string, string>) => void) => (model: string) => {
  const names = Object.keys(headerOf(model)).filter((name) => name !== '__metadata__');
  renameSync(join(model, 'model.safetensors'), join(model, 'model-1.safetensors'));
  const index = Object.fromEntries(names.map((name) => [name, 'model-1.safetensors']));
  change(index);
  writeFileSync(join(model, 'model.safetensors.index.json'), JSON.stringify({ metadata: {}, weight_map: index }));
};
const headerOf = (model: string): Record<string, { shape: number[] }> => {
  const bytes = readFileSync(join(model, 'model.safetensors'));
  return JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))).toString());
};
/** Weights of these names and shapes, all zero. */
const putWeights = (model: string, shapes: Record<string, number[]>) => {
  let end = 0;
  const header = Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => {
      const begin = end;
      end += 4 * shape.reduce((product, side) => product * side, 1);
      return [name, { dtype: 'F32', shape, data_offsets: [begin, end] }];
    }),
  );
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(join(model, 'model.safetensors'), Buffer.concat([length, text, Buffer.alloc(end)]));
};
const shapesOf = (model: string) =>
  Object.entries(headerOf(model)).flatMap(([name, { shape }]): [string, number[]][] =>
    name === '__metadata__' ? [] : [[name, shape]],
  );
const without = (beginning: string) => (model: string) =>
  putWeights(model, Object.fromEntries(shapesOf(model).filter(([name]) => !name.startsWith(beginning))));
/** With a third layer, so that most layers have what one lacks. */
const deeper = (model: string) => {
  const third = shapesOf(model).flatMap(([name, shape]): [string, number[]][] =>
    name.includes('layers.0.') ? [[name.replace('layers.0.', 'layers.2.'), shape]] : [],
  );
  putWeights(model, Object.fromEntries([...shapesOf(model), ...third]));
  config({ num_hidden_layers: 3 })(model);
};
/** A token of the tokenizer with another number. */
const added = (content: string, id: number) => (model: string) => {
  const file = join(model, 'tokenizer.json');
  const { model: inner, added_tokens: tokens, ...rest } = JSON.parse(readFileSync(file, 'utf8'));
  inner.vocab[content] = id;
  const others = tokens.filter((token: { content: string }) => token.content !== content);
  const token = { ...tokens[0], content, id };
  writeFileSync(file, JSON.stringify({ ...rest, added_tokens: [...others, token], model: inner }));
};
const HYBRID = { linear_num_key_heads: 2, linear_num_value_heads: 2, linear_key_head_dim: 8, linear_value_head_dim: 8 };

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
    template(`{{ 'a' * 200000 }}{% for m in messages %}{{ m.content + eos_token }}{% endfor %}`),
    'its chat template makes 200034 characters of a question of 14.',
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
  [
    'a config that is not of a model',
    config({ model_type: 'evil' }),
    'config.json: this version of transformers has no models of the type evil.',
  ],
  [
    'code of its own',
    config({ model_type: 'evil', auto_map: { AutoConfig: 'evil.Config' } }),
    'config.json: this version of transformers has no models of the type evil, and the code that the folder brings along (auto_map) is not run.',
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
    'a shard that is missing',
    sharded((index) => {
      index['model.norm.weight'] = 'model-2.safetensors';
    }),
    "model.safetensors.index.json names 'model-2.safetensors', which is not a file of weights in the folder.",
  ],
  [
    'a shard that lacks what the index says',
    sharded((index) => {
      index['lm_head.weight'] = 'model-1.safetensors';
    }),
    'model.safetensors.index.json says that model-1.safetensors holds lm_head.weight, and it does not.',
  ],
  [
    'an index of weights that is not one',
    (model) => {
      sharded(() => {})(model);
      writeFileSync(join(model, 'model.safetensors.index.json'), '[]');
    },
    'model.safetensors.index.json is not an index of weights (weight_map).',
  ],
  [
    'several files of weights without an index',
    (model) => {
      sharded(() => {})(model);
      rmSync(join(model, 'model.safetensors.index.json'));
    },
    'model-1.safetensors is not read: the weights must be in model.safetensors, or model.safetensors.index.json must name their files.',
  ],
  [
    'weights that were cut off while downloading',
    (model) => truncateSync(join(model, 'model.safetensors'), 400_000),
    /^model\.safetensors is damaged: it has 400000 bytes, and its header describes \d+; download it again\.$/,
  ],
  ['a layer that is not there', without('model.layers.0.'), 'its weights lack layer 0 of 2.'],
  [
    'a layer without one of its parts',
    (model) => {
      deeper(model);
      without('model.layers.1.self_attn.q_proj.weight')(model);
    },
    'its weights lack model.layers.1.self_attn.q_proj.weight.',
  ],
  [
    'a vocabulary of another size',
    config({ vocab_size: 258 }),
    'config.json: vocab_size is 258, and model.embed_tokens.weight has 259 rows.',
  ],
  [
    'a width that no tensor has',
    config({ hidden_size: 56 }),
    'config.json: hidden_size is 56, and no tensor of the weights has that size.',
  ],
  [
    'no output layer',
    config({ tie_word_embeddings: false }),
    'config.json: tie_word_embeddings is false, and the weights have no output layer (lm_head.weight).',
  ],
  [
    'layers that keep a recurrent state',
    config({ ...HYBRID, model_type: 'qwen3_next', layer_types: ['linear_attention', 'full_attention'] }),
    'config.json: qwen3_next models have layers (linear_attention) that keep more than keys and values of a text; the built-in server and trainer cannot run them.',
  ],
  [
    'layers of convolutions, as LFM2',
    config({ model_type: 'lfm2', layer_types: ['conv', 'full_attention'] }),
    'config.json: lfm2 models have layers (conv) that keep more than keys and values of a text; the built-in server and trainer cannot run them.',
  ],
  [
    'attention beside a state in each layer, as Falcon-H1',
    config({ model_type: 'falcon_h1' }),
    'config.json: falcon_h1 models have layers (hybrid) that keep more than keys and values of a text; the built-in server and trainer cannot run them.',
  ],
  [
    'a recurrent state only',
    config({ model_type: 'rwkv' }),
    'config.json: rwkv models keep a recurrent state; the built-in server and trainer cannot run them.',
  ],
  [
    'an encoder',
    config({ model_type: 't5' }),
    'config.json: transformers has no causal language model of the type t5.',
  ],
  [
    'tokens that the embeddings lack',
    added('<|im_start|>', 300),
    'its tokenizer gives token 300 (<|im_start|>), and the embeddings have 259 rows; it is the tokenizer of another model, or tokens were added to it alone.',
  ],
  [
    'a chat template that leaves out replies',
    template('{{ messages[0].content }}'),
    'its chat template leaves out the text of a reply.',
  ],
  [
    'a chat template that leaves out questions',
    template(`{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content + eos_token }}{% endif %}{% endfor %}`),
    "its chat template leaves out the text of a question, or changes it: Is <a> & 'b' one? becomes ''.",
  ],
  [
    'a chat template that writes HTML',
    template('{% for m in messages %}{{ m.content | escape }}{{ eos_token }}{% endfor %}'),
    /^its chat template leaves out the text of a question, or changes it: .* becomes 'Is &lt;a&gt; /,
  ],
  [
    'a chat template that cuts questions',
    template('{% for m in messages %}{{ m.content[:100] + eos_token }}{% endfor %}'),
    /^its chat template makes \d+ characters of a question of 39948; it leaves out a part of it\.$/,
  ],
  [
    'quantized weights',
    config({ quantization_config: { quant_method: 'gptq', bits: 4 } }),
    'config.json: the weights are quantized (gptq); download the model as it was before, in bf16, fp16 or fp32.',
  ],
  [
    'weights of a compiled model',
    (model) =>
      putWeights(model, Object.fromEntries(shapesOf(model).map(([name, shape]) => [`_orig_mod.${name}`, shape]))),
    /^its weights have names that begin with _orig_mod\., such as _orig_mod\.\S+; save the model without what wraps it\.$/,
  ],
  ['no type of model', config({ model_type: null }), 'config.json: it names no model_type.'],
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

it.each([
  ['an ordinary model', () => {}, [], true],
  [
    'a template that opens a think block',
    template(
      `{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}`,
    ),
    [
      'its chat template opens a think block before each reply, and replies are written inside it; prompts.reply "{rationale}\\n</think>\\n\\n{answer}" makes the rationale the thought, and closes it before the answer',
    ],
    true,
  ],
  [
    'a template without an end of turn, which refuses a system message',
    template(
      `{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}`,
    ),
    ['its chat template puts no end of turn after a reply; <|im_end|> is put there'],
    false,
  ],
  [
    'a tokenizer with more tokens than embeddings',
    added('<pad>', 300),
    ['its tokenizer has 260 tokens, and the embeddings 259 rows; a text with one of the others cannot be used'],
    true,
  ],
  [
    'a template that leaves out a system message and earlier turns',
    template(
      `{% for m in messages[-2:] %}{% if m.role != 'system' and (m.role != 'user' or loop.last or messages[-1].role == 'assistant') %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`,
    ),
    [],
    false,
    false,
  ],
  [
    'weights of more layers than the config counts',
    config({ num_hidden_layers: 1 }),
    ['its weights have 2 layers, and config.json has num_hidden_layers 1; the others are not used'],
    true,
  ],
] as [string, (model: string) => void, string[], boolean, boolean?][])(
  '%s: what somebody should know is a warning',
  async (name, change, warnings, takesSystem, keepsTurns = true) => {
    expect(await probeModel(python, modelWith(name, change))).toEqual({ warnings, takesSystem, keepsTurns });
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
