/** What the collapse watch gives for a fixed table of candidates and for fixed replies: part of the corpus of method/. */
import { type Decision, GUARDS, INCUMBENT } from '../../contracts/rows.js';
import { SELECTORS } from '../../contracts/spec.js';
import { watchChoices, watchReplies } from '../../method/watch/index.js';

const TEXTS = [
  '',
  'x',
  '3 + 4 = 7',
  'Add 3 and 4, which is 7.',
  '日本語 と 英語',
  'so so so so so so',
  'Check: 7 - 4 = 3.',
];

/** Rows of an incumbent and four candidates; every third row stays as it is. */
export const TABLE: Decision[][] = Array.from({ length: 40 }, (_, row) =>
  [INCUMBENT, 0, 1, 2, 3].map((k) => {
    const rationale = TEXTS[(row * 5 + k + 1) % TEXTS.length]!.repeat(1 + (row % 3));
    return {
      ...{ id: `row ${row}`, k, rationale, chars: rationale.length },
      guard: k > 0 && (row + k) % 5 === 0 ? GUARDS[row % GUARDS.length]! : null,
      scores: { 'off-policy': -((row * 7 + k * 3) % 11) / 10, 'on-policy': row % 4 === 0 ? null : -0.5 },
      ...(k === INCUMBENT
        ? { withoutRationale: { 'on-policy': [-0.5 - (row % 5) / 10, -1], 'off-policy': [-0.7, -1.25] } }
        : {}),
      chosen: row % 3 === 0 ? k === INCUMBENT : k === row % 4,
    };
  }),
);

export async function watchOutputs() {
  const chunks = async function* () {
    for (const lines of TABLE) yield lines;
  };
  const grades = async function* () {
    for (const reply of TEXTS) yield { reply };
  };
  return [
    await Promise.all(SELECTORS.map((selector) => watchChoices(chunks(), { selector }))),
    await watchReplies(grades()),
  ];
}
