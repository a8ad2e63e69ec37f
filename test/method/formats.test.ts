import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Catalyst, Example, PromptRow, Question } from '../../contracts/rows.js';
import type { Fields } from '../../contracts/spec.js';
import { toCatalyst, toExample, toPromptRow, toQuestion } from '../../method/formats/recognise.js';
import { message, messageOf, read } from './bytes.js';

const at = { file: 'data.jsonl', line: 7 };
const example = (value: unknown, fields: Fields = {}) => toExample(value, at, fields, 'r000007');
const question = (value: unknown, fields: Fields = {}) => toQuestion(value, at, fields, 'r000007');
/** r0, which is also the current rationale until a round replaces it. */
const first = (rationale: string) => ({ original: rationale, rationale });

describe('examples are recognised by their field names', () => {
  const plain = {
    id: 'r000007',
    instruction: 'Add 2 and 3.',
    turns: null,
    original: null,
    rationale: '',
    answer: '5',
    origin: null,
  };
  const known: [string, unknown, unknown][] = [
    [
      'own',
      { id: 'x', instruction: 'Q', rationale: 'R', answer: 'A' },
      { id: 'x', instruction: 'Q', turns: null, original: 'R', rationale: 'R', answer: 'A', origin: null },
    ],
    ['Alpaca', { instruction: 'Add.', input: '2, 3', output: '5' }, { ...plain, instruction: 'Add.\n\n2, 3' }],
    ['Alpaca without input', { instruction: 'Add 2 and 3.', input: ' ', output: '5' }, plain],
    ['question and answer', { question: 'Add 2 and 3.', answer: 5 }, plain],
    ['prompt and completion', { prompt: 'Add 2 and 3.', completion: '5' }, plain],
    ['query and response', { query: 'Add 2 and 3.', response: ' 5\n' }, plain],
    ['input and output', { input: 'Add 2 and 3.', output: '5' }, plain],
    ['input and target', { input: 'Add 2 and 3.', target: '5' }, plain],
    [
      'GSM8K',
      { question: 'Q', answer: '2+3 = <<2+3=5>>5 clips.\nSo $<<5*1=5>>5.\n#### 1,005' },
      { ...plain, instruction: 'Q', ...first('2+3 = 5 clips.\nSo $5.'), answer: '1,005' },
    ],
    ['GSM8K without rationale', { question: 'Add 2 and 3.', answer: '#### 5' }, plain],
    [
      'self-instruct',
      {
        id: 'seed_task_0',
        instruction: 'Add.',
        instances: [
          { input: '2, 3', output: '5' },
          { input: '1', output: '1' },
        ],
      },
      { ...plain, id: 'seed_task_0', instruction: 'Add.\n\n2, 3' },
    ],
    ['chat', { messages: [turn('user', 'Add 2 and 3.'), turn('assistant', '5')] }, plain],
    [
      'chat of several turns with a system message',
      {
        messages: [
          turn('system', 'Be brief.'),
          turn('user', 'Hi'),
          turn('assistant', 'Yes?'),
          turn('user', '2+3'),
          turn('assistant', '5'),
          turn('user', 'Thanks'),
        ],
      },
      {
        ...plain,
        instruction: 'Be brief.\n\nUser: Hi\nAssistant: Yes?\nUser: 2+3',
        turns: [turn('system', 'Be brief.'), turn('user', 'Hi'), turn('assistant', 'Yes?'), turn('user', '2+3')],
      },
    ],
  ];
  it.each(known)('%s', (_, value, want) => expect(example(value)).toEqual(want));

  it('and by the names the spec maps', () => {
    const svamp = { context: 'Add 2 and 3.', chain_of_thought: '( 2.0 + 3.0 )', answer: '5' };
    const fields = { instruction: 'context', rationale: 'chain_of_thought' };
    expect(example(svamp, fields)).toEqual({ ...plain, ...first('( 2.0 + 3.0 )') });
  });

  it('a heading in an answer is no GSM8K mark', () => {
    const answer = '#### Plan\nFirst, rest.';
    expect(example({ instruction: 'Q', output: answer })).toMatchObject({ answer, original: null, rationale: '' });
  });

  it('a rationale of its own field is not overwritten by the one before ####', () => {
    expect(example({ question: 'Q', rationale: 'mine', answer: 'theirs\n#### 5' })).toMatchObject({
      ...first('mine'),
      answer: '5',
    });
  });

  it('an empty rationale counts as none', () => {
    expect(example({ instruction: 'Q', rationale: ' \n', answer: 'A' })).toMatchObject({
      original: null,
      rationale: '',
    });
  });

  it('nothing inside a text is changed', () => {
    const text = 'a \u0000\u0007  <i>x</i>\n\n{answer} {"k":1}\t\u202eשלום 👩‍👩‍👧 b'.repeat(1500);
    expect(example({ instruction: text, answer: text })).toMatchObject({ instruction: text, answer: text });
  });

  it('a lone surrogate is replaced, so that the text can be stored', () => {
    expect(example({ instruction: 'a\ud800b👍', answer: '\udc00' })).toMatchObject({
      instruction: 'a\ufffdb👍',
      answer: '\ufffd',
    });
  });
});

describe('an unusable row is reported with line, field, expectation and finding', () => {
  const fix = 'Fix the row. [data.invalid]';
  const bad: [string, unknown, string][] = [
    [
      'a missing instruction',
      { context: 'x', answer: '5' },
      `data.jsonl:7 instruction: expected text, found nothing (the row has context, answer; the spec can map them under fields). ${fix}`,
    ],
    [
      'a missing answer',
      { instruction: 'Q' },
      `data.jsonl:7 answer: expected text, found nothing (the row has instruction; the spec can map them under fields). ${fix}`,
    ],
    ['an empty row', {}, `data.jsonl:7 instruction: expected text, found nothing (the row is empty). ${fix}`],
    [
      'a blank instruction',
      { instruction: ' ', output: 'A' },
      `data.jsonl:7 instruction: expected text, found " ". ${fix}`,
    ],
    ['a blank answer', { instruction: 'Q', output: '' }, `data.jsonl:7 output: expected text, found "". ${fix}`],
    ['an answer of null', { instruction: 'Q', answer: null }, `data.jsonl:7 answer: expected text, found null. ${fix}`],
    [
      'an instruction that is a list',
      { question: ['Q'], answer: 'A' },
      `data.jsonl:7 question: expected text, found ["Q"]. ${fix}`,
    ],
    [
      'a rationale that is an object',
      { question: 'Q', rationale: {}, answer: 'A' },
      `data.jsonl:7 rationale: expected text, found {}. ${fix}`,
    ],
    [
      'a number that JSON cannot hold',
      { question: 'Q', answer: JSON.parse('12345678901234567890') },
      `data.jsonl:7 answer: the number has more digits than can be read exactly; put it in quotes. ${fix}`,
    ],
    ['a row that is no object', [1], `data.jsonl:7: expected an object, found [1]. ${fix}`],
    [
      'a chat without an answer',
      { messages: [turn('user', 'Q')] },
      `data.jsonl:7 answer: expected text, found nothing (the row has messages; the spec can map them under fields). ${fix}`,
    ],
    [
      'a chat with another role',
      { messages: [turn('tool', 'Q')] },
      `data.jsonl:7 messages[0].role: expected system, user or assistant, found "tool". ${fix}`,
    ],
    [
      'a chat without text',
      { messages: [{ role: 'user' }] },
      `data.jsonl:7 messages[0].content: expected text, found nothing. ${fix}`,
    ],
  ];
  it.each(bad)('%s', (_, value, want) => expect(messageOf(() => example(value))).toBe(want));

  it('a mapped field is reported by its name in the file', () => {
    expect(messageOf(() => example({ question: 'Q', answer: 'A' }, { answer: 'gold' }))).toBe(
      `data.jsonl:7 gold: expected text, found nothing (the row has question, answer; the spec can map them under fields). ${fix}`,
    );
  });

  it('a name of Object.prototype is no field', () => {
    expect(messageOf(() => example({ question: 'Q' }, { answer: 'constructor' }))).toContain(
      'constructor: expected text, found nothing',
    );
  });
});

describe('catalysts', () => {
  const own = { instruction: 'Q', rationale: 'short', enriched: 'long', skills: ['checking', ' detail '] };
  it('need no answer, and take it where there is one', () => {
    const want = {
      id: 'r000007',
      instruction: 'Q',
      rationale: 'short',
      enriched: 'long',
      skills: ['checking', 'detail'],
    };
    expect(toCatalyst(own, at, {}, 'r000007')).toEqual({ ...want, answer: null });
    expect(toCatalyst({ ...own, answer: 5, skills: 'checking, detail' }, at, {}, 'r000007')).toEqual({
      ...want,
      answer: '5',
    });
  });
  it('may have their short rationale before ####', () => {
    const value = { question: 'Q', answer: '2+3 = <<2+3=5>>5\n#### 5', enriched: 'long' };
    expect(toCatalyst(value, at, {}, 'c')).toMatchObject({ rationale: '2+3 = 5', answer: '5', skills: [] });
  });
  it('without the enriched rationale are refused', () => {
    expect(messageOf(() => toCatalyst({ instruction: 'Q', rationale: 'R' }, at, {}, 'c'))).toBe(
      'data.jsonl:7 enriched: expected text, found nothing (the row has instruction, rationale; the spec can map them under fields). Fix the row. [data.invalid]',
    );
  });
});

describe('questions', () => {
  const choices = ['two', 'three', 'five'];
  it.each(['C', 'c', '(c)', 'C.', 2, '2', 'five'])('the answer %j is the letter C', (answer) => {
    expect(question({ question: 'Q', choices, answer })).toEqual({
      id: 'r000007',
      question: 'Q',
      turns: null,
      choices,
      answer: 'C',
    });
  });
  it('of ARC are answered by their own labels', () => {
    const value = { question: 'Q', choices: { text: choices, label: ['1', '2', '3'] }, answerKey: '2' };
    expect(question(value)).toMatchObject({ choices, answer: 'B' });
  });
  it('an index counts from 0 even where the choices are numbers', () => {
    expect(question({ question: 'Q', choices: [1, 2, 3], answer: 1 })).toMatchObject({
      choices: ['1', '2', '3'],
      answer: 'B',
    });
    expect(question({ question: 'Q', choices: ['1', '2', '3'], answer: '1' })).toMatchObject({ answer: 'A' });
  });
  it('without choices keep their answer, GSM8K without its working', () => {
    expect(question({ question: 'Q', answer: '2+3=5\n#### 5' })).toEqual({
      id: 'r000007',
      question: 'Q',
      turns: null,
      choices: null,
      answer: '5',
    });
  });
  it('HellaSwag is read by mapping its fields', () => {
    const fields = { instruction: 'ctx', choices: 'endings', answer: 'label' };
    expect(question({ ctx: 'Q', endings: choices, label: '1' }, fields)).toMatchObject({ question: 'Q', answer: 'B' });
  });
  const fix = 'Fix the row. [data.invalid]';
  const bad: [string, unknown, string][] = [
    [
      'an answer that is none of them',
      { question: 'Q', choices, answer: 'D' },
      `data.jsonl:7 answer: expected one of the 3 choices, found "D". ${fix}`,
    ],
    [
      'no answer',
      { question: 'Q', choices },
      `data.jsonl:7 answer: expected one of the 3 choices, found nothing. ${fix}`,
    ],
    [
      'an answer that can be read in two ways',
      { question: 'Q', choices: ['B', 'A'], answer: 'A' },
      `data.jsonl:7 answer: "A" can be read as A or B; give the index, from 0, as a number. ${fix}`,
    ],
    [
      'a single choice',
      { question: 'Q', choices: ['x'], answer: 0 },
      `data.jsonl:7 choices: expected 2 to 26 choices, found 1. ${fix}`,
    ],
    [
      'choices that are text',
      { question: 'Q', options: 'x', answer: 0 },
      `data.jsonl:7 options: expected a list of texts, found "x". ${fix}`,
    ],
  ];
  it.each(bad)('%s is refused', (_, value, want) => expect(messageOf(() => question(value))).toBe(want));
});

describe('prompts', () => {
  it('a chat that ends with the user counts whole', () => {
    const messages = [turn('user', 'Hi'), turn('assistant', 'Yes?'), turn('user', '2+3')];
    expect(toPromptRow({ messages }, at, {}, 'p').instruction).toBe('User: Hi\nAssistant: Yes?\nUser: 2+3');
  });
});

describe('readData', () => {
  it('names a row without an id by its content, so that it keeps its name when others go', async () => {
    const [a, b, c] = ['{"prompt":"a"}\n', '{"prompt":"b","id":5}\n', '{"prompt":"c","id":""}\n'];
    const ids = (await read('prompts', `${a}${b}${c}`)).map(({ id }) => id);
    expect(ids).toEqual([expect.stringMatching(/^r-[0-9a-f]{16}$/), '5', expect.stringMatching(/^r-[0-9a-f]{16}$/)]);
    expect((await read('prompts', `${b}${c}`)).map(({ id }) => id)).toEqual(ids.slice(1));
    expect((await read('prompts', `${a}${a}${a}`)).map(({ id }) => id)).toEqual([ids[0], `${ids[0]}-2`, `${ids[0]}-3`]);
  });
  it('never gives a name that is already the id of another row', async () => {
    const id = (await read('prompts', `{"prompt":"b"}\n`))[0]!.id;
    const rows = await read('prompts', `{"prompt":"a","id":"${id}"}\n{"prompt":"b"}\n`);
    expect(rows.map((row) => row.id)).toEqual([id, `${id}-2`]);
  });
  it('refuses an id that occurs twice', async () => {
    expect(await message(read('prompts', '{"prompt":"a","id":1}\n\n{"prompt":"b","id":"1"}\n'))).toBe(
      'data.jsonl:3 id: "1" occurs twice (first at line 1). Fix the row. [data.invalid]',
    );
  });
  it.each([
    ['examples', 'example'],
    ['catalysts', 'catalyst'],
    ['questions', 'question'],
    ['prompts', 'prompt'],
  ] as const)('refuses %s without a row', async (kind, one) => {
    expect(await message(read(kind, ' [ ]\n'))).toBe(`data.jsonl: there is no usable ${one} in it. [data.unusable]`);
  });
  it('names many equal rows in time that grows with their number', async () => {
    const rows = await read('prompts', '{"prompt":"a"}\n'.repeat(3_000));
    expect(rows.at(-1)!.id).toMatch(/^r-[0-9a-f]{16}-3000$/);
  });
  describe('counts the choices of a file', () => {
    const letters = async (answers: unknown[], choices: object = { choices: ['x', 'y', 'z'] }) => {
      const text = answers.map((answer) => `${JSON.stringify({ question: 'Q', ...choices, answer })}\n`).join('');
      return (await read('questions', text)).map(({ answer }) => answer).join('');
    };
    it.each([
      ['from 0, as long as nothing shows it', [1, 2, 1], undefined, 'BCB'],
      ['from 1 where an answer is as large as their number', [1, '2', 3], undefined, 'ABC'],
      ['from 0 where an answer is 0', [1, 2, 0], { option1: 'x', option2: 'y', option3: 'z' }, 'BCA'],
      ['from 1 where they are numbered', [1, '2'], { option1: 'x', option2: 'y', option3: 'z' }, 'AB'],
      [
        'by their labels, whatever other rows show',
        ['3', '1'],
        { choices: { text: ['x', 'y', 'z'], label: ['1', '2', '3'] } },
        'CA',
      ],
    ])('%s', async (_, answers, choices, want) => expect(await letters(answers, choices)).toBe(want));
    it('and refuses an answer that other rows contradict', async () => {
      const text = [0, 3].map((answer) => `${JSON.stringify({ question: 'Q', choices: ['x', 'y', 'z'], answer })}\n`);
      expect(await message(read('questions', text.join('')))).toBe(
        'data.jsonl:2 answer: expected one of the 3 choices, counted from 0, found 3. Fix the row. [data.invalid]',
      );
    });
  });
  it('reads no further than the limit', async () => {
    expect(await read('prompts', '{"prompt":"a"}\n{"prompt":"b"}\nnot JSON', {}, 2)).toHaveLength(2);
  });
  it('gives rows that fit their schema and can be encoded, or a Problem, whatever the row holds', () => {
    const texts = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.jsonValue(),
      fc.constantFrom('A', 1, '#### 5', 'x\n#### 5'),
    );
    const names = [
      'id',
      'instruction',
      'input',
      'question',
      'rationale',
      'answer',
      'output',
      'enriched',
      'skills',
      'choices',
      'messages',
      'instances',
    ];
    const row = fc.dictionary(fc.constantFrom(...names), texts, { noNullPrototype: true });
    const schemas = { examples: Example, catalysts: Catalyst, questions: Question, prompts: PromptRow };
    return fc.assert(
      fc.asyncProperty(row, fc.constantFrom('examples', 'catalysts', 'questions', 'prompts'), async (value, kind) => {
        const found = await read(kind, JSON.stringify(value)).catch((error) => {
          expect(error.type).toBe('data.invalid');
          return [];
        });
        for (const one of found) {
          expect(schemas[kind].parse(one)).toEqual(one);
          expect(JSON.stringify(one)).not.toMatch(/\\ud[89a-f]/i);
        }
      }),
      { numRuns: 200 },
    );
  });
});

function turn(role: string, content: string) {
  return { role, content };
}
