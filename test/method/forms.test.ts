/** Data sets as they are published. Each form is also written at random, and must be read as what was written. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Message } from '../../contracts/rows.js';
import type { Fields } from '../../contracts/spec.js';
import { toExample, toPromptRow, toQuestion, type Uses } from '../../method/formats/recognise.js';
import { messageOf } from './bytes.js';

const at = { file: 'data.jsonl', line: 7 };
const example = (value: unknown, fields: Fields = {}) => toExample(value, at, fields, 'r');
const question = (value: unknown, fields: Fields = {}) => toQuestion(value, at, fields, 'r');
const turn = (role: Message['role'], content: string): Message => ({ role, content });
const fix = 'Fix the row. [data.invalid]';

/** What a row is about, and the forms in which data sets write that. */
interface Content {
  question: string;
  rationale: string;
  answer: string;
}
const said = ({ question }: Content) => [turn('user', question)];
const FORMS: [string, (content: Content) => unknown][] = [
  ['GSM8K', ({ question, rationale, answer }) => ({ question, answer: `${rationale}\n#### ${answer}` })],
  [
    'MetaMath with both lines',
    ({ question, rationale, answer }) => ({
      query: question,
      response: `${rationale}\n#### ${answer}\nThe answer is: ${answer}`,
    }),
  ],
  [
    'MetaMath',
    ({ question: query, rationale, answer }) => ({ query, response: `${rationale}\nThe answer is: ${answer}` }),
  ],
  [
    'a think block',
    ({ question, rationale, answer }) => ({ question, output: `<think>\n${rationale}\n</think>\n\n${answer}` }),
  ],
  [
    'a think block that the template opens',
    ({ question, rationale, answer }) => ({ question, output: `${rationale}</think>${answer}` }),
  ],
  [
    'reasoning_content',
    (content) => ({
      messages: [
        ...said(content),
        { role: 'assistant', reasoning_content: content.rationale, content: content.answer },
      ],
    }),
  ],
  [
    'a part of thinking',
    (content) => ({
      messages: [
        { role: 'user', content: [{ type: 'text', text: content.question }] },
        {
          role: 'assistant',
          content: [
            { type: 'thinking', thinking: content.rationale },
            { type: 'text', text: content.answer },
          ],
        },
      ],
    }),
  ],
  [
    'ShareGPT',
    ({ question, rationale, answer }) => ({
      conversations: [
        { from: 'human', value: question },
        { from: 'gpt', value: `<think>${rationale}</think>${answer}` },
      ],
    }),
  ],
  [
    'TRL turns',
    (content) => ({
      prompt: said(content),
      completion: [{ role: 'assistant', content: content.answer, thinking: content.rationale }],
    }),
  ],
  [
    'TRL prompt and answer',
    (content) => ({ prompt: said(content), answer: content.answer, reasoning: content.rationale }),
  ],
  ['MATH', ({ question: problem, rationale: solution, answer }) => ({ problem, solution, answer })],
  [
    'OpenThoughts',
    ({ question, rationale, answer }) => ({
      conversations: [
        { from: 'user', value: question },
        {
          from: 'assistant',
          value: `<|begin_of_thought|>\n\n${rationale}\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n${answer}\n\n<|end_of_solution|>`,
        },
      ],
    }),
  ],
  [
    'Nemotron, where reasoning is a switch',
    (content) => ({
      input: said(content),
      output: `<think>\n${content.rationale}\n</think>\n\n${content.answer}`,
      reasoning: 'on',
    }),
  ],
  [
    'names in capitals',
    ({ question, rationale, answer }) => ({ Problem: question, Solution: rationale, Answer: answer }),
  ],
  [
    'names with marks that do not show',
    ({ question, rationale, answer }) => ({ '\ufeffquestion': question, 'answer ': answer, rationale }),
  ],
];

describe('an example is read as it was written, in the form of', () => {
  const words = fc
    .array(fc.constantFrom('one', 'two', '3', '+', 'is', '{answer}', 'Zoë', '<b>', 'User:', '"'), { minLength: 1 })
    .map((list) => list.join(' '));
  const content = fc.record({ question: words, rationale: words, answer: words });
  it.each(FORMS)('%s', (_, write) =>
    fc.assert(
      fc.property(content, (written) => {
        const { instruction, turns, original, answer } = example(write(written));
        expect({ question: instruction, rationale: original, answer }).toEqual(written);
        expect(turns).toBeNull();
      }),
      { numRuns: 20 },
    ),
  );
});

describe('choices are read as they were written, in the form of', () => {
  const letters = [...'ABCDEFGH'];
  const byColumn = (texts: string[], name: (i: number) => string) =>
    Object.fromEntries(texts.map((text, i) => [name(i), text]));
  const forms: [string, (question: string, texts: string[], right: number) => unknown][] = [
    ['MMLU', (question, choices, right) => ({ question, choices, answer: right, subject: 'x' })],
    ['RACE', (question, options, right) => ({ question, options, answer: letters[right] })],
    [
      'ARC',
      (question, text, right) => ({
        question,
        choices: { text, label: text.map((_, i) => letters[i]) },
        answerKey: letters[right],
      }),
    ],
    [
      'ARC with numbers',
      (question, text, right) => ({
        question,
        choices: { text, label: text.map((_, i) => `${i + 1}`) },
        answerKey: `${right + 1}`,
      }),
    ],
    [
      'OpenBookQA',
      (question_stem, text, right) => ({
        question_stem,
        choices: { text, label: text.map((_, i) => letters[i]) },
        answerKey: letters[right],
      }),
    ],
    [
      'CommonsenseQA',
      (stem, texts, right) => ({
        question: { stem, choices: texts.map((text, i) => ({ text, label: letters[i] })) },
        answerKey: letters[right],
      }),
    ],
    [
      'MedQA',
      (question, texts, right) => ({
        question,
        answer: texts[right],
        options: byColumn(texts, (i) => letters[i]!),
        answer_idx: letters[right],
      }),
    ],
    [
      'MMLU in a table',
      (question, texts, right) => ({ question, ...byColumn(texts, (i) => letters[i]!), answer: letters[right] }),
    ],
    [
      'MedMCQA',
      (question, texts, right) => ({
        question,
        ...byColumn(texts, (i) => `op${letters[i]!.toLowerCase()}`),
        cop: right,
      }),
    ],
    [
      'AQuA',
      (question, texts, right) => ({
        question,
        options: texts.map((text, i) => `${letters[i]})${text}`),
        correct: letters[right],
      }),
    ],
    ['LogiQA', (query, options, right) => ({ query, options, correct_option: right })],
    [
      'PIQA, whose label counts from 0',
      (question, texts, right) => ({ question, ...byColumn(texts, (i) => `sol${i + 1}`), label: right }),
    ],
    [
      'COPA, whose label counts from 0',
      (question, texts, right) => ({ question, ...byColumn(texts, (i) => `choice${i + 1}`), label: right }),
    ],
    [
      'Social IQa, whose label counts from 1',
      (question, texts, right) => ({
        question,
        ...byColumn(texts, (i) => `answer${letters[i]}`),
        label: `${right + 1}`,
      }),
    ],
    [
      'options with numbers',
      (question, texts, right) => ({ question, ...byColumn(texts, (i) => `option${i + 1}`), answer: `${right + 1}` }),
    ],
  ];
  const texts = fc.uniqueArray(fc.constantFrom('red', 'two words', '42', 'A', 'ünï', '(b) x'), {
    minLength: 2,
    maxLength: 6,
  });
  it.each(forms)('%s', (_, write) =>
    fc.assert(
      fc.property(texts, fc.nat({ max: 5 }), (choices, n) => {
        // A letter that is also a text can be read in two ways where there are no labels.
        fc.pre(_ !== 'RACE' || !choices.includes('A'));
        const right = n % choices.length;
        const row = write('Which?', choices, right);
        const want = { question: 'Which?', choices, answer: letters[right] };
        expect(question(row)).toMatchObject(want);
        const listed = choices.map((text, i) => `\n${letters[i]}. ${text}`).join('');
        expect(example(row)).toMatchObject({ instruction: `Which?${listed}`, answer: letters[right] });
      }),
      { numRuns: 20 },
    ),
  );

  it('MathQA, in one text', () => {
    expect(question({ Problem: 'Q', options: 'a ) rs . 40 , b ) 1 , 000 , c ) none', correct: 'b' })).toMatchObject({
      ...{ question: 'Q', choices: ['rs . 40', '1 , 000', 'none'], answer: 'B' },
    });
  });
  it('choices with a label of the answer that is no letter', () => {
    const choices = [
      { label: 'x', text: '3' },
      { label: 'y', text: '4' },
    ];
    expect(question({ question: '2+2?', choices, answerKey: 'y' })).toMatchObject({ choices: ['3', '4'], answer: 'B' });
  });
  it('an empty cell of a table is no choice', () => {
    expect(question({ question: 'Q', A: 'x', B: 'y', C: '', D: null, answer: 'B' })).toMatchObject({
      choices: ['x', 'y'],
    });
  });
});

describe('a conversation keeps its turns', () => {
  const spoken = fc.array(fc.tuple(fc.constantFrom('a', 'b c'), fc.constantFrom('d', 'e\nf')), { maxLength: 3 });
  const forms: [string, (system: string | null, pairs: [string, string][], last: string, answer: string) => unknown][] =
    [
      ['messages', (system, pairs, last, answer) => ({ messages: turnsOf(system, pairs, last, answer) })],
      [
        'ShareGPT',
        (system, pairs, last, answer) => ({
          conversations: turnsOf(system, pairs, last, answer).map(({ role, content }) => ({
            from: { system: 'system', user: 'human', assistant: 'gpt' }[role],
            value: content,
          })),
        }),
      ],
      [
        'TRL',
        (system, pairs, last, answer) => ({
          prompt: turnsOf(system, pairs, last, answer).slice(0, -1),
          completion: [turn('assistant', answer)],
        }),
      ],
      [
        'system and history',
        (system, history, instruction, output) => ({ system, history, instruction, input: '', output }),
      ],
      [
        'system beside messages',
        (system, pairs, last, answer) => ({ system_prompt: system, messages: turnsOf(null, pairs, last, answer) }),
      ],
    ];
  it.each(forms)('of %s', (_, write) =>
    fc.assert(
      fc.property(fc.constantFrom(null, 'Be brief.'), spoken, (system, pairs) => {
        const want = turnsOf(system, pairs, 'Last?', 'Yes.').slice(0, -1);
        const row = write(system, pairs, 'Last?', 'Yes.');
        const found = example(row);
        expect(found).toMatchObject({ turns: want.length > 1 ? want : null, answer: 'Yes.', original: null });
        expect(question(row)).toMatchObject({ question: found.instruction, turns: found.turns });
        expect(toPromptRow(row, at, {}, 'p')).toMatchObject({ instruction: found.instruction, turns: found.turns });
      }),
      { numRuns: 30 },
    ),
  );
  const turnsOf = (system: string | null, pairs: [string, string][], last: string, answer: string): Message[] => [
    ...(system === null ? [] : [turn('system', system)]),
    ...pairs.flatMap(([user, assistant]) => [turn('user', user), turn('assistant', assistant)]),
    ...[turn('user', last), turn('assistant', answer)],
  ];

  it('the last reply of a weight is the answer', () => {
    const messages = [
      ...[turn('user', 'Name a fruit.'), turn('assistant', 'Plum.'), turn('user', 'Name a stone.')],
      { ...turn('assistant', 'A wrong reply.'), weight: 0 },
    ];
    expect(example({ messages })).toMatchObject({ instruction: 'Name a fruit.', turns: null, answer: 'Plum.' });
  });
  it('one speaker twice is one turn', () => {
    const messages = [turn('user', 'a'), turn('user', 'b'), turn('assistant', 'c')];
    expect(example({ messages })).toMatchObject({ instruction: 'a\n\nb', turns: null });
  });
  it('input belongs to its last turn', () => {
    const row = { instruction: 'Add.', input: '2, 3', history: [['Hi', 'Yes?']], output: '5' };
    const turns = [turn('user', 'Hi'), turn('assistant', 'Yes?'), turn('user', 'Add.\n\n2, 3')];
    expect(example(row)).toMatchObject({ instruction: 'User: Hi\nAssistant: Yes?\nUser: Add.\n\n2, 3', turns });
  });

  const bad: [string, unknown, string][] = [
    [
      'whose replies all have the weight 0',
      [turn('user', 'a'), { ...turn('assistant', 'b'), weight: 0 }],
      'answer: expected text, found nothing (the row has messages; the spec can map them under fields).',
    ],
    [
      'whose reply follows another',
      [turn('user', 'a'), turn('assistant', 'b'), turn('assistant', 'c')],
      'messages[2].content: expected a user turn before the answer, found a turn of the assistant.',
    ],
    [
      'that begins with its reply',
      [turn('assistant', 'b')],
      'messages[0].content: expected a user turn before the answer, found nothing.',
    ],
    [
      'with an image',
      [{ role: 'user', content: [{ type: 'image_url' }] }],
      'messages[0].content[0].type: expected "text", found "image_url": only texts are read.',
    ],
    ['of texts', ['a', 'b'], 'messages[0]: expected a message with role and content, found "a".'],
    [
      'with another speaker',
      [{ from: 'tool', value: 'x' }],
      'messages[0].from: expected system, user or assistant, found "tool".',
    ],
  ];
  it.each(bad)('one %s is refused', (_, messages, want) =>
    expect(messageOf(() => example({ messages }))).toBe(`data.jsonl:7 ${want} ${fix}`),
  );
});

describe('conversations of other forms', () => {
  const want = { turns: [turn('user', 'a'), turn('assistant', 'b'), turn('user', 'c')], answer: 'd' };
  it.each<[string, unknown]>([
    ['LIMA', { conversations: ['a', 'b', 'c', 'd'] }],
    ['UltraChat', { id: '0', data: ['a', 'b', 'c', 'd'] }],
    [
      'Capybara',
      {
        conversation: [
          { input: 'a', output: 'b' },
          { input: 'c', output: 'd' },
        ],
      },
    ],
    [
      'a preference pair',
      {
        prompt: 'a',
        chosen: [turn('user', 'a'), turn('assistant', 'b'), turn('user', 'c'), turn('assistant', 'd')],
        rejected: [],
      },
    ],
    [
      'a preference pair in parts',
      { prompt: [turn('user', 'a'), turn('assistant', 'b'), turn('user', 'c')], chosen: [turn('assistant', 'd')] },
    ],
  ])('are read: %s', (_, row) => expect(example(row)).toMatchObject(want));
  it('have no second solution as the rationale of their reply', () => {
    const messages = [turn('user', 'Q'), turn('assistant', 'So.')];
    expect(example({ problem: 'Q', solution: 'So.', messages })).toMatchObject({ original: null, answer: 'So.' });
  });
  it('keep what their reply has thought, whatever solution lies beside it', () => {
    const messages = [turn('user', 'Q'), turn('assistant', '<think>Hm.</think>So.')];
    expect(example({ problem: 'Q', solution: 'Other.', messages })).toMatchObject({ original: 'Hm.', answer: 'So.' });
  });
});

describe('a solution with a box', () => {
  it.each([
    ['So $x = \\boxed{\\frac{1}{2}}$.', 'So $x = \\boxed{\\frac{1}{2}}$.', '\\frac{1}{2}'],
    ['\\boxed{1}, then \\boxed{2}', '\\boxed{1}, then \\boxed{2}', '2'],
    ['$\\boxed{\\{1\\}}$', null, '\\{1\\}'],
    ['An open \\boxed{1', null, 'An open \\boxed{1'],
  ])('%j', (solution, original, answer) =>
    expect(example({ problem: 'Q', solution })).toMatchObject({ original, answer }),
  );
  it('alone after a thought is the answer', () => {
    expect(example({ problem: 'Q', output: '<think>Hm.</think>\\boxed{5}' })).toMatchObject({ answer: '5' });
  });
});

describe('texts that belong to an instruction', () => {
  it.each([
    ['Dolly', { instruction: 'When?', context: 'In 1894.', response: 'A' }, 'When?\n\nIn 1894.'],
    ['BoolQ', { question: 'Is it?', passage: 'It is.', answer: true }, 'It is.\n\nIs it?'],
    ['SQuAD', { question: 'Who?', context: 'Ann.', answers: { text: ['A'] }, answer: 'A' }, 'Ann.\n\nWho?'],
    ['RACE', { article: 'Long.', question: 'Who?', options: ['x', 'y'], answer: 'B' }, 'Long.\n\nWho?\nA. x\nB. y'],
    ['SVAMP', { Body: 'Two.', Question: 'How many?', Answer: 2 }, 'Two.\n\nHow many?'],
    ['both', { instruction: 'Do.', input: 'x', context: 'y', output: 'A' }, 'Do.\n\nx\n\ny'],
  ])('are read: %s', (_, row, want) => expect(example(row).instruction).toBe(want));

  it.each(['<noinput>', 'No input', '<no input>', 'noinput', 'No Input.', 'N/A', '', ' ', null, Number.NaN])(
    '%j is no input',
    (input) => expect(example({ instruction: 'Sort.', input, output: 'a' }).instruction).toBe('Sort.'),
  );
  it.each(['none', 'No input file is given.', 'a <noinput>'])('%j is one', (input) =>
    expect(example({ instruction: 'Sort.', input, output: 'a' }).instruction).toBe(`Sort.\n\n${input}`),
  );

  it('are those that the spec maps, in its order', () => {
    const row = { system: 'S', context: 'C', instruction: 'I', input: 'N', output: 'A' };
    expect(example(row, { input: ['context', 'system'] })).toMatchObject({ instruction: 'I\n\nC\n\nS', turns: null });
  });
  it('may be lists of paragraphs', () => {
    const row = { question: 'Q', context: { title: ['t'], sentences: [['a', 'b'], ['c']] }, answer: 'A' };
    expect(example(row, { input: 'context.sentences' }).instruction).toBe('Q\n\na\nb\nc');
  });
});

describe('a path leads', () => {
  const row = { 'a.b': 'literal', q: { stem: 'Q' }, choices: [{ text: 'x' }, { text: 'y' }], answers: { text: ['y'] } };
  it.each([
    ['into a field', { instruction: 'q.stem' }, 'Q'],
    ['nowhere where a field has that very name', { instruction: 'a.b' }, 'literal'],
  ])('%s', (_, fields, want) => expect(question({ ...row, answer: 'y' }, fields).question).toBe(want));
  it('to each item of a list, and to one by its number', () => {
    const fields = { instruction: 'q.stem', choices: 'choices.text', answer: 'answers.text.0' };
    expect(question(row, fields)).toMatchObject({ choices: ['x', 'y'], answer: 'B' });
  });
  it('to nothing, which is reported by the path', () => {
    expect(messageOf(() => example(row, { instruction: 'q.none' }))).toContain(
      'data.jsonl:7 q.none: expected text, found nothing',
    );
    expect(messageOf(() => example(row, { instruction: '__proto__.constructor' }))).toContain('found nothing');
  });
});

describe('an answer', () => {
  it.each([
    [true, 'true'],
    [false, 'false'],
    [0, '0'],
    ['#### 2\nThe answer is: 3', '3'],
  ])('of %j is read as its text', (answer, want) => expect(example({ question: 'Q', answer }).answer).toBe(want));
  it('whose reasoning never ends, or that is nothing else, is refused', () => {
    for (const answer of ['<think> cut', '<think>all</think> ']) {
      expect(messageOf(() => example({ question: 'Q', answer }))).toBe(
        `data.jsonl:7 answer: expected an answer after the reasoning, found nothing. ${fix}`,
      );
    }
  });
  it('without reasoning in its think block has no rationale', () => {
    expect(example({ question: 'Q', answer: '<think>\n\n</think>\n\nA' })).toMatchObject({
      answer: 'A',
      original: null,
    });
  });
});

describe('what fields are used for', () => {
  const usesOf = (
    read: typeof toExample | typeof toQuestion | typeof toPromptRow,
    row: unknown,
    fields: Fields = {},
  ) => {
    let found: Uses = { parts: {}, unused: [] };
    read(row, at, fields, 'r', (uses) => {
      found = uses;
    });
    return found;
  };
  it('is reported, and which are not used, if they hold anything', () => {
    const row = {
      id: 1,
      instruction: 'Q',
      context: 'C',
      response: 'A',
      category: 'x',
      empty: '',
      none: null,
      list: [],
    };
    expect(usesOf(toExample, row)).toEqual({
      parts: { id: ['id'], instruction: ['instruction'], input: ['context'], answer: ['response'] },
      unused: ['category'],
    });
  });
  it('names what lies beside a field that a path leads to', () => {
    const row = { data: { q: 'Q', a: { text: 'A', start: 1 }, context: 'C', none: null }, id: 1 };
    const { unused } = usesOf(toExample, row, { instruction: 'data.q', answer: 'data.a.text' });
    expect(unused).toEqual(['data.context', 'data.a.start']);
  });
  it('does not count what rows of a kind have no use for', () => {
    const row = { question: 'Q', rationale: 'R', answer: 'A', level: 1 };
    expect(usesOf(toQuestion, row).unused).toEqual(['level']);
    expect(usesOf(toPromptRow, row).unused).toEqual(['level']);
  });
  it('of a conversation is the whole of it; what is beside it is not used', () => {
    const row = { messages: [turn('user', 'Q'), turn('assistant', 'A')], input: 'x', prompt: 'y' };
    expect(usesOf(toExample, row)).toMatchObject({ unused: ['input', 'prompt'] });
  });
});
