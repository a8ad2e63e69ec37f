/**
 * A fixed corpus for the versions of method/: what each file that decides a stored result gives for it. The inputs are
 * literals, crossed with each other, and sweeps over the numbers that rules have; no generator whose results could
 * change. Characters are long-established ones, since newer ones depend on the version of Node.
 */
import { Problem } from '../../contracts/errors.js';
import type { Catalyst, Example, Question } from '../../contracts/rows.js';
import { PromptTemplates, SELECTORS, type SelectorName } from '../../contracts/spec.js';
import * as answers from '../../method/answers.js';
import * as draw from '../../method/catalysts/draw.js';
import * as pick from '../../method/catalysts/pick.js';
import * as catalystPrompt from '../../method/catalysts/prompt.js';
import * as chunks from '../../method/chunks.js';
import * as formats from '../../method/formats/index.js';
import * as graders from '../../method/graders/index.js';
import * as guards from '../../method/guards/index.js';
import * as judge from '../../method/judge.js';
import * as likelihood from '../../method/likelihood.js';
import * as mixture from '../../method/mixture.js';
import * as parse from '../../method/parse.js';
import * as prompts from '../../method/prompts.js';
import * as random from '../../method/random.js';
import * as selectors from '../../method/selectors/index.js';
import * as statistics from '../../method/statistics.js';
import * as watch from '../../method/watch/index.js';
import { stream } from './bytes.js';
import * as catalysts from './catalyst-corpus.js';
import { watchOutputs } from './watch-corpus.js';

export interface Decider {
  version: number;
  /** Where VERSION is, if the entry is not named for that file. */
  file?: string;
  /** Files whose results are part of this one's. */
  uses: string[];
  outputs: () => unknown;
}

/** Every file that decides a stored result. Each selector has an entry of its own, so that a new one needs no new version. */
export const DECIDERS: Record<string, Decider> = {
  'method/prompts.ts': { version: prompts.VERSION, uses: [], outputs: promptOutputs },
  'method/parse.ts': { version: parse.VERSION, uses: ['method/prompts.ts'], outputs: parseOutputs },
  'method/answers.ts': { version: answers.VERSION, uses: [], outputs: () => ANSWERS.map(answers.normaliseAnswer) },
  'method/guards/index.ts': { version: guards.VERSION, uses: ['method/prompts.ts'], outputs: guardOutputs },
  ...Object.fromEntries(
    SELECTORS.map((name): [string, Decider] => [
      `method/selectors/${name}`,
      {
        version: selectors.VERSION,
        file: 'method/selectors/index.ts',
        uses: selectors.draws(name) ? ['method/random.ts'] : [],
        outputs: () => selectorOutputs(name),
      },
    ]),
  ),
  'method/graders/index.ts': {
    version: graders.VERSION,
    uses: ['method/prompts.ts', 'method/parse.ts', 'method/answers.ts'],
    outputs: graderOutputs,
  },
  'method/watch/index.ts': { version: watch.VERSION, uses: ['method/guards/index.ts'], outputs: watchOutputs },
  'method/likelihood.ts': {
    version: likelihood.VERSION,
    uses: ['method/prompts.ts', 'method/parse.ts'],
    outputs: likelihoodOutputs,
  },
  'method/random.ts': { version: random.VERSION, uses: [], outputs: randomOutputs },
  'method/statistics.ts': { version: statistics.VERSION, uses: ['method/random.ts'], outputs: statisticsOutputs },
  'method/judge.ts': { version: judge.VERSION, uses: ['method/prompts.ts'], outputs: judgeOutputs },
  'method/mixture.ts': { version: mixture.VERSION, uses: ['method/prompts.ts'], outputs: mixtureOutputs },
  'method/catalysts/draw.ts': { version: draw.VERSION, uses: ['method/random.ts'], outputs: catalysts.drawOutputs },
  'method/catalysts/prompt.ts': {
    version: catalystPrompt.VERSION,
    uses: ['method/prompts.ts', 'method/random.ts'],
    outputs: catalysts.promptOutputs,
  },
  'method/catalysts/pick.ts': {
    version: pick.VERSION,
    uses: ['method/guards/index.ts', 'method/prompts.ts', 'method/random.ts'],
    outputs: catalysts.pickOutputs,
  },
  'method/chunks.ts': { version: chunks.VERSION, uses: ['method/random.ts'], outputs: chunkOutputs },
  'method/formats/index.ts': {
    version: formats.VERSION,
    uses: ['method/prompts.ts', 'method/random.ts'],
    outputs: formatOutputs,
  },
};

const times = <T>(count: number, one: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => one(i));
const cross = <A, B, C>(as: readonly A[], bs: readonly B[], join: (a: A, b: B) => C): C[] =>
  as.flatMap((a) => bs.map((b) => join(a, b)));

// --- texts ------------------------------------------------------------------------------------------------------------
const TEMPLATES = [
  {},
  { reply: '{rationale}\n\n{answer}', answer: 'Q: {instruction}\nA:', enrich: '{rationale}|{instruction}|{input}' },
  { reply: '<think>\n{rationale}\n</think>\n{answer}', rationalize: '{answer} because {instruction}?' },
  { reply: 'So: {rationale} {rationale}; hence **{answer} or {answer}' },
].map((template) => PromptTemplates.parse(template));

const WORKING = 'Step by step: 8+3=11, 11+8=19, 19+7=26, 26+3=29, 29+9=38.';
const BEFORE = [
  ...[
    '',
    WORKING,
    ' \n ',
    '...',
    '"Quoted."',
    '“Curly.”',
    '"Two" and "three"',
    '**bold**',
    '先把前两个数相加得到十一。',
  ],
  ...[
    'Reasoning: add.',
    'Here’s a more detailed rationale: add.',
    '**The enriched explanation:** add.',
    '# Rationale: #',
  ],
  ...['Here is the answer: 5', 'Short reasoning:', 'reasoning add.', 'My new, better reasoning: x', 'Thoughts: add.'],
  ...[
    '```text\nadd.\n```',
    '```\n```js\nadd.\n```\n```',
    '"```\n“Reasoning: x”\n```"',
    'a \\boxed{7} b',
    'x\n#### 12\ny',
  ],
];
const AFTER = [
  ...[
    '',
    'Answer: 5',
    '\nAnswer: 5 Answer: 6',
    '\n**Final Answer:** 5',
    ' **final  Answer: **5** x',
    '\n## Answer:\n\n 5',
  ],
  ...[' </think>\n5\nso', '</think>', '; hence **5** or 6', '\n#### 5', '\n#### **5**\n', ' \\boxed{\\frac{1}{2}} end'],
  ...[
    '\nAnswer: \\boxed{5}',
    '\nAnswer: \\boxed{5',
    '\nAnswer:',
    '\nanswer: 5',
    '\r\nlast line\r\n',
    ' ####',
    '####5 6',
  ],
];
const TEXTS = cross(BEFORE, AFTER, (before, after) => before + after);

const EXAMPLES: Example[] = [
  ...([
    ['What is 8 + 3 + 8 + 7 + 3 + 9?', 'Add them up.', 'Add them up.', '38'],
    ['What is 8 + 3 + 8 + 7 + 3 + 9?', 'Add them up.', WORKING, '38'],
    ['{rationale} {answer} $& $1', null, '', '{instruction}'],
    ['Name a city, please.', '', 'A capital.', 'Paris, which is the capital of France.'],
    ['Name a city, please.', 'Any.', 'A capital.', 'Paris, France'],
    ['How long?', 'Measure.', 'Measure it.', '5 m'],
  ] as const),
].map(([instruction, original, rationale, answer], i) => ({
  ...{ id: `e${i}`, instruction, turns: null, original, rationale, answer },
  origin: i === 1 ? { round: 1, k: 0 } : null,
}));

const QUESTIONS: Question[] = [
  { id: 'open', question: 'How many?', turns: null, choices: null, answer: '1,000' },
  { id: 'word', question: 'Which {instruction}?', turns: null, choices: null, answer: 'The Eiffel Tower' },
  { id: 'choice', question: 'Which?', turns: null, choices: ['A dog', 'The cat', '42', '{instruction}'], answer: 'B' },
  { id: 'letters', question: 'Which?', turns: null, choices: ['B', 'A'], answer: 'A' },
  { id: 'many', question: 'Which?', turns: null, choices: times(26, (i) => `option ${i}`), answer: 'Z' },
];

function promptOutputs() {
  return TEMPLATES.map((template) => [
    EXAMPLES.map((example) => [
      prompts.answerMessages(template, example).at(-1)?.content,
      prompts.enrichPrompt(template, example, 'original'),
      prompts.enrichPrompt(template, example, 'current'),
      prompts.rationalizePrompt(template, example),
      prompts.sampleMessages(null, null, example).at(-1)?.content,
      prompts.sampleMessages(template.enrich, null, example).at(-1)?.content,
      prompts.replyPrefix(template, example.rationale),
      prompts.answerSuffix(template, example.answer),
      prompts.reply(template, example.rationale, example.answer),
    ]),
    QUESTIONS.map((question) => graders.evaluateMessages(template, question).at(-1)?.content),
    prompts.answerMark(template),
  ]);
}

function parseOutputs() {
  return cross(TEMPLATES, TEXTS, (template, text) => [
    (['stop', 'length', 'other'] as const).map((finish) => parse.parseCandidate({ text, finish }, template)),
    parse.parseRationale(text, template),
    parse.parseAnswer(text, template),
  ]);
}

// --- answers and grades -----------------------------------------------------------------------------------------------
const CORES = [
  ...[
    '',
    '5',
    '50',
    '1,000',
    '1000',
    '1,00',
    '01',
    '.5',
    '0.50',
    '-5',
    '−5',
    '+5',
    '-0',
    '1 000',
    '12345678901234567890',
  ],
  ...['５０', 'a', 'the', 'cat', 'Cat', 'The  cat', 'an old the thing', 'ﬁve', 'B', 'b', '(b)', 'B) the cat', 'C: 42'],
  ...[
    'A dog',
    'A wolf',
    'option 3',
    'Option B',
    'choice z',
    'D - x',
    '42.0',
    'Eiffel tower',
    '18 dollars',
    '1/2',
    '5e3',
  ],
];
const ANSWERS = cross(
  cross(['', '"', '“', "'", '$', '\\$', '€', '£ ', 'the ', 'A '], CORES, (lead, core) => lead + core),
  ['', '.', ' .', '!', ';', ':', '%', '\\%', '.0', '"', '”.', ', the', '\n'],
  (text, end) => text + end,
);

function graderOutputs() {
  return cross(QUESTIONS, ANSWERS, (question, answer) => {
    const { correct, given } = graders.grade(question, `So.\nAnswer: ${answer}`, TEMPLATES[0]!);
    return [correct, given];
  }).concat(
    QUESTIONS.flatMap((question) => TEXTS.map((text) => graders.grade(question, text, TEMPLATES[1]!)) as never),
  );
}

function likelihoodOutputs() {
  const score = (id: string, k: number, nats: number) => ({ id, k, score: nats });
  return QUESTIONS.flatMap((question) => {
    const rows = likelihood.choiceRows(question);
    const scores = (sign: number) => new Map(rows.map(({ id }, i) => [id, [score(id, -2, sign * (i + 1))]]));
    return [
      rows,
      ...[-1, 1].map((sign) => likelihood.gradeChoices(question, scores(sign))),
      ...TEXTS.slice(0, 10).map((text) => likelihood.likelihoodRow(question, text, TEMPLATES[0]!)),
      likelihood.gradeLikelihood(question, 'r', [score(question.id, -1, -2), score(question.id, 0, -1)]),
    ];
  });
}

// --- guards -----------------------------------------------------------------------------------------------------------
/** Texts on both sides of every number in the guards. */
const RATIONALES = [
  ...TEXTS,
  ...[
    '38',
    'So the final answer is **38**.',
    "It's 38",
    'Thus 38 is right',
    'Add  them\n up.',
    'add them up.',
    WORKING,
  ],
  ...'so thus therefore hence the final correct answer result is it s an'.split(' ').map((word) => `${word} 38`),
  ...['Paris', 'France', ', France', 'Paris, Paris', 'm', '5 5', 'm 5', 'which is', 'the capital of Spain'],
  ...times(40, (n) => 'a'.repeat(165 + n)),
  ...times(40, (n) => '1'.repeat(165 + 20 * n)),
  // Loops: units of 1 to 6 tokens, with and without a statement, after nothing, some or much other text.
  ...cross(
    ['7 + ', '0 ', '- ', 'go ', 'go on and ', '8 + 3 = 11, ', '1, 2, 3, ', 'ha', '加'],
    cross([2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 23, 24, 25, 30, 59, 60, 61], [0, 5, 11, 24, 60], (n, lead) => ({
      n,
      lead,
    })),
    (unit, { n, lead }) => `${times(lead, (i) => `w${'abcdefghij'[i % 10]}${i}x`).join(' ')} ${unit.repeat(n)}`,
  ),
  // A unit of n words, four times.
  ...[10, 60, 126, 127, 128, 129, 130].map((n) =>
    `${times(n, (i) => String.fromCharCode(97 + (i % 26)).repeat(1 + Math.floor(i / 26))).join(' ')} `.repeat(4),
  ),
  // n of 10 sentences are repeated, whatever precedes them.
  ...cross(
    ['', '- ', '3. ', 'Step 2: ', '• ', 'a) '],
    times(11, (n) => n),
    (lead, n) =>
      times(10, (i) => `${lead}${i < n ? 'Add the numbers now' : `Take number ${'abcdefghij'[i]}b`}.`).join('\n'),
  ),
  ...cross(
    [' ', '\n', ''],
    ['Add one! ', '再加。', '1 = 1. ', '7. '],
    (gap, unit) => `${unit}${gap}${unit}${gap}${unit}`,
  ),
  // n of 20 words are of the prompt or of the answer.
  ...cross(
    [
      'Rewrite the reasoning so that it is more comprehensive. Use whichever of these help: reflection, decomposition into',
    ],
    times(21, (n) => n),
    (source, n) =>
      [...source.split(' ').slice(0, n), ...times(20 - n, (i) => `own${'abcdefghijklmnopqrst'[i]}`)].join(' '),
  ),
  ...times(9, (n) => `Paris, which is the capital of France. ${times(n, (i) => `own${'abcdefghi'[i]}`).join(' ')}`),
];

function guardOutputs() {
  const verdict = (example: Example, rationale: string, truncated: boolean) =>
    (['original', 'current'] as const).map((enrichFrom) =>
      guards.guardsFor({ example, templates: TEMPLATES[0]!, enrichFrom })({ rationale, truncated }),
    );
  return [
    cross(EXAMPLES, RATIONALES, (example, rationale) => verdict(example, rationale, false)),
    cross(EXAMPLES, TEXTS.slice(0, 30), (example, text) => verdict(example, text, true)),
  ];
}

// --- selectors --------------------------------------------------------------------------------------------------------
const BOUNDS = [
  { minChars: 1, maxChars: 8000 },
  { minChars: 3, maxChars: 6 },
];
/** Small numbers, so that ties occur; some rows have a guard, some lack a score or the log-probabilities of tokens. */
const TABLES = times(300, (t) => {
  const below = numbers(t);
  // Numbers of its own, so that the tables of the selectors that read no tokens stay as they were.
  const token = numbers(t + 1000);
  return times(1 + below(7), (i): selectors.CandidateRow => {
    const score = () => (below(12) === 0 ? null : -below(5));
    const row: selectors.CandidateRow = {
      k: i - 1,
      chars: below(9),
      guard: i > 0 && below(6) === 0 ? 'repetition' : null,
      scores: { 'off-policy': score(), 'on-policy': score() },
    };
    const tokens = () => ({ 'off-policy': times(3, () => -token(4) / 4), 'on-policy': times(3, () => -token(4) / 4) });
    if (token(12) > 0) row.logprobs = tokens();
    if (i === 0 && token(12) > 0) row.withoutRationale = tokens();
    return row;
  });
});

function numbers(seed: number) {
  let state = seed;
  return (bound: number) => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >> 16) % bound;
  };
}

function selectorOutputs(selector: SelectorName) {
  return [
    selectors.scoresOf(selector),
    cross(BOUNDS, TABLES, (bounds, table) =>
      selectors.choose(table, { selector, minGain: 0, ...bounds }, `0 1 ${table.length}`),
    ),
  ];
}

// --- numbers ----------------------------------------------------------------------------------------------------------
function randomOutputs() {
  const names = ['', 'srlm', '日本', 'r000001', 'a/b', '\u0000', 'x'.repeat(100)];
  return [
    names.map(random.hash32),
    [0, 1, -1, 2 ** 31, 2 ** 32 + 5, 1.5].map((seed) => times(5, random.random(seed))),
    cross([0, 7, 2 ** 31 - 1], names, (seed, id) =>
      [0, 1, 12].map((round) => random.rowSeed(seed, round, 'enrich', id)),
    ),
    random.rowSeed(0, 1, 'evaluate', 'q'),
  ];
}

/** `right` of `of` answers are right; `step` spreads them. */
const graded = (right: number, of: number, step = 1) => times(of, (e) => (e * step) % of < right);
const PAIRS = [
  ...[1, 2, 10, 37, 100].flatMap((of) =>
    [0, 0.3, 0.5, 0.9, 1].map((share) => [graded(share * of, of), graded(0.6 * of, of)]),
  ),
  ...times(12, (i) => [graded(40, 50), graded(40 - 2 * i, 50)]),
  ...times(12, (i) => [graded(30, 50, 3), graded(30 - 2 * i, 50, 7)]),
] as [boolean[], boolean[]][];

function judgeOutputs() {
  const replies = ['A', 'b', '**T**', 'Tie.', 'A is better', 'A good one is B', 'B, since ... A', 'so B.', '', 'Both.'];
  const templates = PromptTemplates.parse({});
  return [
    judge.judgePrompt(templates, { instruction: 'Why {first}?', answer: '4' }, ['', 'since {second}']),
    replies.map(judge.readPreference),
    cross(replies, replies, (one, other) => judge.verdictsOf('row', [{ ks: [0, 2], replies: [one, other] }])),
  ];
}

function chunkOutputs() {
  return cross([1, 4, 32], [0, 3, 40, 3000], (most, rows) => {
    const chunker = new chunks.Chunker<{ id: string }>(most);
    const made = times(rows, (i) => chunker.add({ id: `row ${i}` }, 1)).flat();
    return [...made, ...chunker.end()].map(({ length }) => length);
  });
}

function statisticsOutputs() {
  return [
    cross(PAIRS, [0.5, 0.95, 0.999], ([a, b], confidence) => [
      statistics.wilsonInterval(a.filter(Boolean).length, a.length, confidence),
      statistics.pairedBootstrap(a, b, confidence, a.length),
      statistics.pairedBootstrap(a, b, confidence, 3, 50),
    ]),
    // Many questions have close means, which show a change of the number of draws.
    times(12, (i) => statistics.pairedBootstrap(graded(0, 997), graded(640, 997), 0.988 + i / 1000, 1)),
  ];
}

// --- rows -------------------------------------------------------------------------------------------------------------
const CATALYSTS: Catalyst[] = [
  { id: 'c1', instruction: 'Q {answer}', rationale: 'short', enriched: 'long', skills: ['checking'], answer: '5' },
  { id: 'c2', instruction: 'Q', rationale: 'r', enriched: 'Answer: {rationale}', skills: [], answer: null },
];

function mixtureOutputs() {
  return TEMPLATES.map((template) => [
    EXAMPLES.map((example) => mixture.answerRow(example, template)),
    CATALYSTS.map((catalyst) => mixture.catalystRow(catalyst, template, 'enrich')),
    mixture.catalystRow(CATALYSTS[0]!, template, 'answer'),
    problemOf(() => mixture.catalystRow(CATALYSTS[1]!, template, 'answer')),
  ]);
}

const turn = (role: string, content: unknown) => ({ role, content });
const CHATS = [
  [turn('user', 'Add 2 and 3.'), turn('assistant', 'Add.\n#### 5')],
  [
    turn('system', 'Be brief.'),
    turn('user', 'Hi'),
    turn('assistant', 'Yes?'),
    turn('user', '2+3'),
    turn('assistant', 5),
  ],
  [turn('user', 'Hi'), turn('assistant', 'Yes?'), turn('user', '2+3')],
  [turn('assistant', 'Hello'), turn('system', 'x')],
  [turn('tool', 'x')],
  [turn('user', null)],
  [],
];
const CHOICES = [
  ['two', ' three ', 'five'],
  { text: ['x', 'y'], label: ['1', '2'] },
  [1, 2, 3],
  ['B', 'A'],
  ['x'],
  'x',
  null,
];
const FIELDS = [{}, { instruction: 'ctx', answer: 'label', choices: 'endings', id: 'name', input: 'more' }];
const ROWS: unknown[] = [
  { id: 'x', instruction: ' Q ', rationale: ' R\n', answer: 'A' },
  { id: 5, prompt: 'Q', completion: '5' },
  { id: ' ', query: 'Q', response: 5.5 },
  { id: null, input: 'Q', output: 'A' },
  { id: ['x'], instruction: 'Q', input: 'more', question: 'other', target: 'A', skills: 'checking, detail,' },
  { instruction: null, question: 'Q', input: ' ', answer: 'A', answerKey: 'B', enriched: 'long', rationale: 'short' },
  {
    question: 'Q',
    answer: '2+3 = <<2+3=5>>5 clips.\n#### 1,005',
    enriched: 'long',
    skills: ['checking', ' detail ', ''],
  },
  { question: 'Q', rationale: 'mine', answer: 'theirs\n#### 5', enriched: 'long' },
  { question: 'Q', answer: '#### 5' },
  { question: 'Q', answer: '#### Plan\nFirst, rest.' },
  { question: 'Q', answer: 'x #### 5' },
  { instruction: 'a\ud800b \u0000 👍', answer: '\udc00', enriched: '\ud83d' },
  { instruction: 'Add.', instances: [{ input: '2, 3', output: '5' }, { output: '6' }], input: 'own' },
  { instruction: 'Add.', instances: [], output: '5' },
  { instruction: 'Add.', instances: ['x'], output: '5' },
  ...CHATS.map((messages) => ({ messages, input: 'dropped' })),
  {
    messages: CHATS[0],
    instances: [{ instruction: 'of the instance', output: 'o' }],
    rationale: 'short',
    enriched: 'long',
  },
  { ctx: 'mapped', at: { path: 'P' }, label: 1, endings: ['x', 'y'], name: 'n', more: 'm', messages: CHATS[0] },
  ...cross(CHOICES, ['C', 'a', '(b)', 'B.', 2, '2', 0, 'five', 'A', 'D', null], (choices, answer) => ({
    ...{ question: 'Q', choices, answer },
  })),
  { question: 'Q', options: ['x', 'y'], answerKey: 'y' },
  { question: 'Q', options: { a: 'x', b: 'y' }, answer: 'y', answer_idx: 'b', rationale: 'r' },
  {
    question: {
      stem: 'Q',
      choices: [
        { label: 'A', text: 'x' },
        { label: 'B', text: 'y' },
      ],
    },
    answerKey: 'B',
  },
  { question: 'Q', A: 'x', B: 'y', C: '', answer: 'B', article: 'long', passage: 'more' },
  { problem: 'Q', solution: 's', answer: '5', context: { no: 'text' } },
  { instruction: 'Q', context: 'C', input: '<noinput>', response: 'R', system: 'S', history: [['a', 'b']] },
  { query: 'Q', response: 'r\n#### 5\nThe answer is: 5' },
  { query: 'Q', response: '<think>r</think> 5' },
  { query: 'Q', response: '<think>r' },
  {
    conversations: [
      { from: 'system', value: 'S' },
      { from: 'human', value: 'a' },
      { from: 'gpt', value: 'b', weight: 0 },
      { from: 'human', value: [{ type: 'text', text: 'c' }] },
      { from: 'gpt', value: 'd', reasoning: 'r' },
    ],
  },
  { prompt: [{ role: 'user', content: 'Q' }], completion: [{ role: 'assistant', content: 'A' }] },
  { question: 'Q', choices: times(26, (i) => `option ${i}`), answer: '12' },
  ...[
    {},
    [1],
    null,
    'x',
    7,
    { instruction: ['Q'] },
    { instruction: 'Q', answer: true },
    { instruction: 'Q', answer: ' ' },
  ],
  { instruction: 'Q', answer: JSON.parse('12345678901234567890') },
  { instruction: 'Q', answer: 'A', enriched: 'e', rationale: 'r', skills: 5 },
];
/** Whole files: containers, ids and limits. */
const FILES = [
  ...['', ' \n\t', '[]', ' [ ]\n', '{"prompt":"a"}\n{"prompt":"b","id":5}\n\n{"prompt":"c","id":""}\r\n'],
  ...[
    '\ufeff{"prompt":"a","id":"r000002"}\n{"prompt":"b"}',
    '[{"prompt":"a"},\n {"prompt":"],[\\"{"}]',
    '[{"prompt":"a"}',
  ],
  ...[
    '{"prompt":"a","id":1}\n\n{"prompt":"b","id":"1"}\n',
    '[{"prompt":"a"},]',
    '[{"prompt":"a"}] x',
    '{"prompt":"a"\n',
    '{\n "data": [{"prompt":"a"},\n {"prompt":"b"}], "n": 2}',
    '{"a":1,\n "b":2}',
    '{"prompt":"a","input":NaN}\n{"prompt":NaN}',
    '<html>',
  ],
];

async function formatOutputs() {
  const kinds = ['examples', 'catalysts', 'questions', 'prompts'] as const;
  const read = async (kind: (typeof kinds)[number], text: string, fields = {}, limit: number | null = null) => {
    const rows: unknown[] = [];
    try {
      for await (const row of formats.readData(kind, stream(text), 'data.jsonl', fields, limit)) rows.push(row);
    } catch (error) {
      rows.push(problemData(error));
    }
    return rows;
  };
  const lines = cross(FIELDS, ROWS, (fields, row) => ({ fields, text: JSON.stringify(row) }));
  return Promise.all(
    kinds.flatMap((kind) => [
      ...lines.map(({ fields, text }) => read(kind, text, fields)),
      ...FILES.flatMap((text) => [read(kind, text), read(kind, text, {}, 1)]),
    ]),
  );
}

/** A Problem without its sentence, which is no stored result. */
function problemData(error: unknown) {
  if (!(error instanceof Problem)) throw error;
  return { type: error.type, line: error.at?.line ?? null, field: error.at?.field ?? null };
}

function problemOf(work: () => unknown) {
  try {
    return work();
  } catch (error) {
    return problemData(error);
  }
}
