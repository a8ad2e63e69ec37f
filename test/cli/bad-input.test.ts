/**
 * Bad input on the command line: one sentence with file, line and field on stderr, exit code 2, nothing started.
 * There is no Temporal in these tests, so each problem is reported before a connection is tried. What fails before
 * anything is started shares one process.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { python } from '../support/python.js';
import { freePorts } from '../support/temporal-server.js';
import { Commands, srlm } from './command.js';

let lab: string;
let commands: Commands;
const file = (path: string, content: string | Uint8Array) => writeFileSync(join(lab, path), content);
const jsonl = (...rows: object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

const EXAMPLE = { instruction: 'What is 1 + 1?', rationale: 'Count on.', answer: '2' };
const CATALYST = { ...EXAMPLE, enriched: 'Start at one and count one on: two.', skills: ['detail'] };
const SPEC = `name: lab
model:
  path: good
data:
  path: data.jsonl
catalysts:
  path: catalysts.jsonl
`;
const MODEL = ['config.json', 'model.safetensors', 'tokenizer.json', 'chat_template.jinja'];

beforeAll(() => {
  lab = mkdtempSync(join(tmpdir(), 'srlm-bad-input-'));
  const folders = {
    good: MODEL,
    weightless: MODEL.filter((name) => name !== 'model.safetensors'),
    pickled: MODEL.map((name) => name.replace('model.safetensors', 'pytorch_model.bin')),
    chatless: MODEL.filter((name) => name !== 'chat_template.jinja'),
  };
  for (const [folder, names] of Object.entries(folders)) {
    mkdirSync(join(lab, 'models', folder), { recursive: true });
    for (const name of names) file(join('models', folder, name), name.endsWith('.json') ? '{}' : 'x');
  }
  file('run.yaml', SPEC);
  file('data.jsonl', jsonl(EXAMPLE));
  file('catalysts.jsonl', jsonl(CATALYST));
  file('questions.jsonl', jsonl({ question: 'What is 1 + 1?', answer: '2' }, { question: 'And 2 + 2?', answer: '4' }));
  file(
    'many.jsonl',
    jsonl(...Array.from({ length: 20000 }, (_, n) => ({ ...EXAMPLE, instruction: `What is ${n} + 1?` }))),
  );
  file('empty.jsonl', '');
  file('prose.jsonl', `${jsonl(EXAMPLE)}this is prose\n`);
  file('no-instruction.jsonl', jsonl(EXAMPLE, { rationale: 'r', answer: 'a' }));
  file('no-answer.jsonl', jsonl(EXAMPLE, { instruction: 'i', rationale: 'r' }));
  file('wrong-type.jsonl', jsonl(EXAMPLE, { ...EXAMPLE, answer: ['2'] }));
  file(
    'latin1.jsonl',
    Buffer.concat([Buffer.from(jsonl(EXAMPLE)), Buffer.from('{"instruction": "caf\xe9"}\n', 'latin1')]),
  );
  file('no-rows.json', '[]');
  file('a-file', '');
  file('elsewhere.json', JSON.stringify({ artifactRoot: 'a-file/store' }));
  const endpoint = { kind: 'endpoint', baseUrl: 'http://127.0.0.1:1/v1', model: 'x' };
  file('endpoint.json', JSON.stringify({ engines: { local: endpoint } }));
  file('python.json', JSON.stringify({ python: '/nowhere/bin/python' }));
  file('misspelt.yaml', SPEC.replace('catalysts:', 'catalyst:'));
  file('broken.yaml', 'name: [lab\n');
  file('zero.yaml', `${SPEC}sampling:\n  temperature: 1\n  k: 0\n`);
  commands = new Commands(lab);
});
afterAll(() => {
  commands?.close();
  rmSync(lab, { recursive: true, force: true });
});

const NOTHING = 'Nothing was started.';
const rowOf = (source: string) =>
  `Fix the row. Or leave such rows out with ${source}.skipInvalid: true. Nothing was started. [data.invalid]`;
const ROW = rowOf('data');
const LINE = 'Fix the line. Nothing was started. [spec.invalid]';
const SET = 'Nothing was started. [spec.invalid]';

/** `says`: everything on stderr. LAB is the folder that the command runs in. */
const cases: { what: string; args: string[]; says: string }[] = [
  {
    what: 'a spec that is not there',
    args: ['no.yaml'],
    says: `no.yaml: there is no such file. ${NOTHING} [file.missing]`,
  },
  {
    what: 'a spec that is no YAML',
    args: ['broken.yaml'],
    says: `broken.yaml:2: this is not YAML or JSON (flow sequence in block collection must be sufficiently indented and end with a ]). ${NOTHING} [spec.unreadable]`,
  },
  {
    what: 'a misspelt field',
    args: ['misspelt.yaml'],
    says: `misspelt.yaml:6 catalyst: there is no such field; did you mean "catalysts"? ${LINE}`,
  },
  {
    what: 'an unknown field',
    args: ['run.yaml', '--set', 'sampling.bananas=3'],
    says: `--set sampling.bananas: there is no such field; the fields are k, temperature, topP, topK, maxTokens, maxFailedShare, chunkSize. ${SET}`,
  },
  {
    what: 'a misspelt number of the collapse watch, which is the name in a map',
    args: ['run.yaml', '--set', 'gate.watch.distincts.drop=0.5'],
    says: `run.yaml gate.watch.distincts: there is no such field; did you mean "distinct1"? ${NOTHING} [spec.invalid]`,
  },
  {
    what: 'the selector judge without a judge',
    args: ['run.yaml', '--set', 'selection.selector=judge'],
    says: `run.yaml selection.judge: it must be set for the selector judge: judge: { engine: NAME }, found nothing. ${NOTHING} [spec.invalid]`,
  },
  { what: 'k = 0', args: ['zero.yaml'], says: `zero.yaml:10 sampling.k: expected at least 1, found 0. ${LINE}` },
  {
    what: 'a negative learning rate',
    args: ['run.yaml', '--set', 'training.learningRate=-0.1'],
    says: `--set training.learningRate: expected more than 0, found -0.1. ${SET}`,
  },
  {
    what: '--set without a value',
    args: ['run.yaml', '--set', 'rounds'],
    says: '--set rounds: expected field=value. [usage]',
  },
  {
    what: 'an id that cannot be one',
    args: ['run.yaml', '--id', 'a b'],
    says: '--id: expected letters, digits, dots, dashes and underscores, at most 100, found "a b". [usage]',
  },
  {
    what: 'a data file that is not there',
    args: ['run.yaml', '--data', 'no.jsonl'],
    says: `no.jsonl: there is no such file. ${NOTHING} [file.missing]`,
  },
  {
    what: 'an empty file',
    args: ['run.yaml', '--data', 'empty.jsonl'],
    says: `empty.jsonl: the file is empty. ${NOTHING} [file.empty]`,
  },
  {
    what: 'a line that is not JSON',
    args: ['run.yaml', '--data', 'prose.jsonl'],
    says: `prose.jsonl:2: this is not JSON (unexpected token 'h', "this is prose"). ${ROW}`,
  },
  {
    what: 'a row with no instruction',
    args: ['run.yaml', '--data', 'no-instruction.jsonl'],
    says: `no-instruction.jsonl:2 instruction: expected text, found nothing (the row has rationale, answer; the spec can map them under fields). ${ROW}`,
  },
  {
    what: 'a row with no answer',
    args: ['run.yaml', '--data', 'no-answer.jsonl'],
    says: `no-answer.jsonl:2 answer: expected text, found nothing (the row has instruction, rationale; the spec can map them under fields). ${ROW}`,
  },
  {
    what: 'a field of the wrong type',
    args: ['run.yaml', '--data', 'wrong-type.jsonl'],
    says: `wrong-type.jsonl:2 answer: expected text, found ["2"]. ${ROW}`,
  },
  {
    what: 'a file in another encoding',
    args: ['run.yaml', '--data', 'latin1.jsonl'],
    says: 'latin1.jsonl:2: this is not UTF-8. Convert the file to UTF-8. Nothing was started. [file.not-utf8]',
  },
  {
    what: 'fewer than one usable catalyst',
    args: ['run.yaml', '--catalysts', 'no-rows.json'],
    says: `no-rows.json: there is no usable catalyst in it. ${NOTHING} [data.unusable]`,
  },
  {
    what: 'evaluation questions that are also in the training data, with strict',
    args: ['run.yaml', '--evaluation', 'questions.jsonl', '--set', 'strict=true'],
    says: 'questions.jsonl: 1 of 2 evaluation questions is also in the training data, and not counted. Remove them, or set strict: false to get a warning only. Nothing was started. [data.leak]',
  },
  {
    what: 'a model folder that is not there',
    args: ['run.yaml', '--model', 'no-model'],
    says: `no-model: there is no such model folder. The model roots are LAB/models, LAB/.srlm/models (modelRoots in temporal.config.ts). Below them are chatless, good, pickled, weightless. ${NOTHING} [model.unusable]`,
  },
  {
    what: 'a model folder without weights',
    args: ['run.yaml', '--model', 'weightless'],
    says: 'LAB/models/weightless: it holds no weights (*.safetensors). Download or save the weights too. Nothing was started. [model.unusable]',
  },
  {
    what: 'a pickle instead of safetensors',
    args: ['run.yaml', '--model', 'pickled'],
    says: 'LAB/models/pickled: pytorch_model.bin is a pickle, which can run code when loaded; only safetensors are read. Save the model with safe_serialization=True. Nothing was started. [model.unusable]',
  },
  {
    what: 'a tokenizer without a chat template',
    args: ['run.yaml', '--model', 'models/chatless'],
    says: 'LAB/models/chatless: its tokenizer has no chat template. Use the instruct version of the model, or put a chat_template.jinja beside it. Nothing was started. [model.unusable]',
  },
  {
    what: 'a model outside the model roots',
    args: ['run.yaml', '--model', '.'],
    says: 'LAB: the model folder is not below a model root (LAB/models, LAB/.srlm/models). Move it there, or add its parent to modelRoots in temporal.config.ts. Nothing was started. [model.outside-roots]',
  },
  {
    what: 'an engine that nobody has defined',
    args: ['run.yaml', '--set', 'engine=vllm'],
    says: 'There is no engine "vllm" in temporal.config.ts; it has local. Use one of these, or add it. Nothing was started. [engine.unknown]',
  },
  {
    what: 'a trainer that nobody has defined',
    args: ['run.yaml', '--set', 'trainer=cluster'],
    says: `There is no trainer "cluster" in temporal.config.ts; it has local. Use one of these, or add it. ${NOTHING} [trainer.unknown]`,
  },
  {
    what: 'a batch that cannot be divided among micro-batches',
    args: ['run.yaml', '--set', 'training.microBatchSize=3'],
    says: `training: batchSize 16 is not a multiple of microBatchSize 3 (trainer "local"). Change training.batchSize or training.microBatchSize. ${NOTHING} [training.invalid]`,
  },
  {
    what: 'an engine that gives no log-probabilities',
    args: ['run.yaml', '--config', 'endpoint.json'],
    says: `Engine "local" cannot give log-probabilities of a prompt, which selection.selector: off-policy needs. Choose another engine in the spec or in temporal.config.ts. ${NOTHING} [engine.lacks]`,
  },
  {
    what: 'an engine that loads no weights',
    args: ['run.yaml', '--config', 'endpoint.json', '--set', 'selection.selector=length'],
    says: `Engine "local" cannot load new weights, which a run, which samples from the model it has just trained, needs. Choose another engine in the spec or in temporal.config.ts. ${NOTHING} [engine.lacks]`,
  },
  {
    what: 'a configuration that is not there',
    args: ['run.yaml', '--config', 'no.json'],
    says: `LAB/no.json: there is no such file. ${NOTHING} [config.invalid]`,
  },
  {
    what: 'an artifact root that cannot be written',
    args: ['run.yaml', '--config', 'elsewhere.json'],
    says: 'LAB/a-file/store: the artifact root cannot be written (ENOTDIR). Set artifactRoot in temporal.config.ts to a folder you can write. Nothing was started. [storage.not-writable]',
  },
];

describe('srlm start refuses, in one sentence and with exit code 2,', () => {
  it.each(cases)('$what', async ({ args, says }) => {
    const { stdout, stderr, code } = await commands.run('start', ...args);
    expect({ stdout, stderr: stderr.replaceAll(lab, 'LAB'), code }).toEqual({
      stdout: '',
      stderr: `${says}\n`,
      code: 2,
    });
  });

  it('a disk too full for the run', async () => {
    const huge = ['sampling.k=64', 'sampling.maxTokens=32768', 'rounds=20'].flatMap((one) => ['--set', one]);
    const { stderr, code } = await commands.run('start', 'run.yaml', '--data', 'many.jsonl', ...huge);
    const said = stderr.replaceAll(lab, 'LAB').replace(/[\d.]+ GB are free/, 'SOME GB are free');
    expect(said.replace('Checking and storing the data ...\n', '')).toBe(
      'LAB/.srlm/store: the run needs about 5033.2 GB and SOME GB are free. Free some space or move artifactRoot. Nothing was started. [storage.disk-full]\n',
    );
    expect(code).toBe(2);
  });

  it('Temporal not reachable, after all that is cheaper to find', async () => {
    const { stdout, stderr, code } = await srlm(lab, [
      'start',
      'run.yaml',
      '--evaluation',
      'questions.jsonl',
      '--json',
    ]);
    const message =
      'Temporal does not answer at 127.0.0.1:1 (Failed to connect before the deadline). Start it with `srlm up`, or set TEMPORAL_ADDRESS. Nothing was started. [temporal.unreachable]';
    const leak = 'questions.jsonl: 1 of 2 evaluation questions is also in the training data, and not counted.';
    expect(stderr).toBe(`warning: ${leak}\n${message}\n`);
    expect(JSON.parse(stdout)).toEqual({ error: { type: 'temporal.unreachable', message } });
    expect(code).toBe(2);
  });
});

it('doctor imports both programs of the environment', async () => {
  const { stdout } = await srlm(lab, ['doctor', '--json'], { SRLM_PYTHON: python });
  expect(stdout).toMatch(/"what":\s*"engine",\s*"ok":\s*true/);
}, 90_000);

describe('srlm up refuses, in one sentence and with exit code 2,', () => {
  it('a Python that is not there', async () => {
    const { stderr, code } = await srlm(lab, ['up', '--config', 'python.json']);
    expect(stderr).toBe(
      'Python cannot be used at /nowhere/bin/python (there is no such program). Install Python 3.11 or newer and run `srlm doctor --fix`, or name an environment with SRLM_PYTHON. Nothing was started. [python.missing]\n',
    );
    expect(code).toBe(2);
  });

  it('a port that is taken', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as { port: number };
    const [uiPort] = await freePorts(1);
    const { stderr, code } = await srlm(lab, ['up', '--port', String(port), '--ui-port', String(uiPort)], {
      SRLM_PYTHON: python,
    });
    other.close();
    expect(stderr).toBe(
      `Starting Temporal ...\nPort ${port} is used by another program. Stop it, or choose another with --port. Nothing was started. [port.taken]\n`,
    );
    expect(code).toBe(2);
  });

  it('a port that is none', async () => {
    const { stderr, code } = await commands.run('up', '--port', '99999');
    expect(stderr).toBe('--port: expected a whole number from 1 to 65535, found "99999". [usage]\n');
    expect(code).toBe(2);
  });
});

describe('srlm refuses, in one sentence and with exit code 2,', () => {
  it.each([
    ['a command that is misspelt', ['strat'], "Unknown command 'strat'; did you mean start? See `srlm --help`."],
    ['an option that is not there', ['list', '--nope'], "Unknown option '--nope'. See `srlm list --help`."],
    ['a missing argument', ['watch'], "Missing required argument 'run'. See `srlm watch --help`."],
    [
      'more enrichments than anybody waits for',
      ['ask', 'r', 'q', '--enrich', '17', '--samples', '16'],
      '--enrich: expected a whole number from 1 to 8, found "17".',
    ],
    [
      'an evaluation of nothing',
      ['eval', '--with', 'inspect'],
      'RUN: expected the id of a run. `srlm list` shows them.',
    ],
    ['an evaluation without a tool', ['eval', 'r', '--task', 't'], '--with: expected lm-eval or inspect.'],
    [
      'an evaluation without a task',
      ['eval', 'r', '--with', 'lm-eval'],
      '--task: expected the name or the file of a task.',
    ],
    [
      'a cache of a tool',
      ['eval', 'r', '--with', 'lm-eval', '--task', 't', '--', '--use_cache=x'],
      '--use_cache=x: srlm sets this itself, or it turns on a cache that does not know the weights.',
    ],
    [
      'a role nobody has',
      ['worker', '--role', 'tpu'],
      "Option '--role <role>' argument 'tpu' is invalid. Allowed choices are all, workflow, cpu, gpu. See `srlm worker --help`.",
    ],
    [
      'a schema that is not there',
      ['schema', 'x'],
      "Command-argument value 'x' is invalid for argument 'which'. Allowed choices are run, sample, catalysts, study, config. See `srlm schema --help`.",
    ],
    [
      'a time to stop that is none',
      ['stop', 'r', '--after', 'tea'],
      "Option '--after <when>' argument 'tea' is invalid. Allowed choices are round, step, now. See `srlm stop --help`.",
    ],
  ])('%s', async (_, args, says) => {
    const { stdout, stderr, code } = await commands.run(...args);
    expect({ stdout, stderr, code }).toEqual({ stdout: '', stderr: `${says} [usage]\n`, code: 2 });
  });

  it('the field names of another kind of data', async () => {
    const { stderr, code } = await commands.run('data', 'check', 'data.jsonl', '--field', 'answr=x');
    expect(stderr).toBe('--field answr: there is no such field; did you mean "answer"? [spec.invalid]\n');
    expect(code).toBe(2);
  });
});

describe('what is good input', () => {
  it('data check reports how many rows a run would read', async () => {
    const { stdout, code } = await srlm(lab, ['data', 'check', 'data.jsonl', '--json']);
    expect(JSON.parse(stdout)).toMatchObject({
      file: 'data.jsonl',
      kind: 'examples',
      rows: 1,
      missingRationales: 0,
      warnings: [],
      meanInstructionChars: 14,
      meanRationaleChars: 9,
      meanAnswerChars: 1,
      invalid: 0,
      unused: [],
      suggested: null,
      sample: { reply: 'Count on.\nAnswer: 2' },
    });
    expect(code).toBe(0);
  });

  it('a file replaces `evaluation: none`, and paths are relative to the current folder', async () => {
    mkdirSync(join(lab, 'specs'), { recursive: true });
    file(
      'specs/none.yaml',
      `${SPEC.replaceAll('path: data', 'path: ../data').replaceAll('path: cat', 'path: ../cat')}evaluation: none\n`,
    );
    const { stderr } = await commands.run('start', 'specs/none.yaml', '--evaluation', 'prose.jsonl');
    expect(stderr).toBe(
      `prose.jsonl:2: this is not JSON (unexpected token 'h', "this is prose"). ${rowOf('evaluation')}\n`,
    );
  });

  it.each(['run', 'sample', 'config'])('schema %s is JSON', async (which) => {
    const { stdout, code } = await commands.run('schema', which);
    expect(JSON.parse(stdout)).toMatchObject({ type: 'object', additionalProperties: false });
    expect(code).toBe(0);
  });
});
